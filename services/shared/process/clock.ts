// Time for code that must not read the clock of its machine.
// Whole microseconds since 1970, the form of every time in a message.
import type { Micros } from '#shared/domain/ids.ts'

export interface Clock {
  now(): Micros
}

/**
 * The process's wall clock, exact to a millisecond.
 * What decides is read from the database clock instead.
 */
export const systemClock: Clock = { now: () => Date.now() * 1000 }
