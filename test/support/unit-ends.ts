// How units end that met a failure, for tests that run them by hand.
import { expect } from 'vitest'

/** How a unit ends whose failure is recorded; it says in words what happened. */
export const failedWith = (code: string, problem = expect.any(String) as string) => ({
  kind: 'failed',
  code,
  problem,
})

/** How one ends of whose calendars some could not be read. */
export const partlyWith = (code: string, calendars: number) => ({
  kind: 'partly',
  code,
  calendars,
  problem: expect.any(String) as string,
})
