// Numbers and spans as a person says them. Pure.
import { COUNTED_TO } from '#shared/store/status.ts'

/** `1 process`, `3 processes`. */
export function count(number: number, one: string, several = `${one}s`): string {
  return `${counted(number)} ${number === 1 ? one : several}`
}

export function counted(number: number): string {
  const text = String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ' ')
  return number >= COUNTED_TO ? `${text} or more` : text
}

/** Seconds as a person says them. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}
