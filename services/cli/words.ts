// Numbers, spans and moments as a person says them. Pure.
import type { Micros } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { COUNTED_TO } from '#shared/store/status.ts'

import { span } from './times.ts'

export { span }

/** `1 process`, `3 processes`. */
export function count(number: number, one: string, several = `${one}s`): string {
  return `${counted(number)} ${number === 1 ? one : several}`
}

export function counted(number: number): string {
  const text = String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ' ')
  return number >= COUNTED_TO ? `${text} or more` : text
}

/** `12 s ago, 2026-11-30T19:01:02.000Z`. A clock that is ahead of ours says now. */
export function ago(at: Micros, now: Micros): string {
  return `${span(Math.max(0, now - at) / 1e6)} ago (${isoOf(at)})`
}
