// Instants in words: RFC 3339 in UTC with milliseconds. Pure.
import type { Micros } from './ids.ts'

export function isoOf(at: Micros): string
export function isoOf(at: Micros | null): string | null
export function isoOf(at: Micros | null): string | null {
  return at === null ? null : new Date(Math.floor(at / 1000)).toISOString()
}
