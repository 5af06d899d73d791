// What `npm start` may be told about its demo.
import { parseArgs } from 'node:util'
import { wholeNumber } from '../stack/usage.ts'

export interface DemoOptions {
  /** On the secured stack: TLS, logins and rights everywhere. */
  readonly secure: boolean
  /** Return once the demo accounts have converged; otherwise go on until the signal fires. */
  readonly untilSynced: boolean
  readonly connections: number
  readonly changesPerSecond: number
  readonly durationMs: number
  /** How long each convergence may take; the default leaves room for a slow machine. */
  readonly withinMs: number
}

/** Reads the command line. Throws an Error that says which argument cannot be used. */
export function parseDemoOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      secure: { type: 'boolean', default: false },
      'until-synced': { type: 'boolean', default: false },
      connections: { type: 'string', default: '20' },
      'changes-per-second': { type: 'string', default: '50' },
      duration: { type: 'string', default: '60' },
      within: { type: 'string', default: '180' },
    },
  })
  return {
    secure: values.secure,
    untilSynced: values['until-synced'],
    connections: wholeNumber('connections', values.connections, { max: 99 }),
    changesPerSecond: wholeNumber('changes-per-second', values['changes-per-second'], { max: 1000 }),
    durationMs: wholeNumber('duration', values.duration, { max: 86_400 }) * 1000,
    withinMs: wholeNumber('within', values.within, { max: 86_400 }) * 1000,
  }
}
