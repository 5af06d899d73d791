// Why a port cannot be opened, in words that say what to do. Pure.
import { UserError } from './user-error.ts'

/** The place, what it is called, and the settings that name it. */
export interface Place {
  readonly what: string
  readonly host: string
  readonly port: number
  readonly portSetting: string
  readonly hostSetting: string
}

/** The error of `listen` as a sentence for a person; `error` is its cause. */
export function listenProblem(place: Place, error: unknown): UserError {
  const { what, host, port } = place
  const at = `The ${what} ${host.includes(':') ? `[${host}]` : host}:${port} cannot be opened`
  return new UserError(`${at}: ${whyNot(place, codeOf(error))}.`, { cause: error })
}

function whyNot({ portSetting, hostSetting }: Place, code: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return `it is taken. End the program that listens there, or set ${portSetting} to a free port`
    case 'EACCES':
      return `this user may not open it. Set ${portSetting} to a port above 1023`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `this machine has no such address. Set ${hostSetting} to 127.0.0.1, or to 0.0.0.0 for all of its addresses`
    default:
      return `${code}. Set ${portSetting} and ${hostSetting}`
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
