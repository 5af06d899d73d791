// What `npm start` may be told about its demo.
import { parseArgs } from 'node:util'

export interface DemoOptions {
  /** Return once the demo accounts have converged; otherwise go on until the signal fires. */
  readonly untilSynced: boolean
  readonly connections: number
  readonly changesPerSecond: number
  readonly durationMs: number
  /** How long each convergence may take; the default leaves room for a slow machine. */
  readonly withinMs: number
}

export const USAGE =
  'Usage: npm start [-- --until-synced] [--connections 20] [--changes-per-second 50] [--duration 60] [--within 180]'

/** Reads the command line. Throws an Error that says which argument cannot be used. */
export function parseDemoOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'until-synced': { type: 'boolean', default: false },
      connections: { type: 'string', default: '20' },
      'changes-per-second': { type: 'string', default: '50' },
      duration: { type: 'string', default: '60' },
      within: { type: 'string', default: '180' },
    },
  })
  return {
    untilSynced: values['until-synced'],
    connections: numberOf('connections', values.connections, 99),
    changesPerSecond: numberOf('changes-per-second', values['changes-per-second'], 1000),
    durationMs: numberOf('duration', values.duration, 86_400) * 1000,
    withinMs: numberOf('within', values.within, 86_400) * 1000,
  }
}

function numberOf(name: string, text: string, max: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value
  throw new Error(`--${name} must be a whole number from 1 to ${max}, not "${text}".`)
}
