// Numbers and spans as a person says them. Pure.
import { COUNTED_TO } from '#shared/store/status.ts'

export { span } from './times.ts'

/** `1 process`, `3 processes`. */
export function count(number: number, one: string, several = `${one}s`): string {
  return `${counted(number)} ${number === 1 ? one : several}`
}

export function counted(number: number): string {
  const text = String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ' ')
  return number >= COUNTED_TO ? `${text} or more` : text
}
