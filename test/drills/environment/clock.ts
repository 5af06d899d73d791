// One clock for the vendors, the database and the services of a drill. The drill moves it, so hours
// pass in seconds. Leases, Kafka and the audit keep the machine's time. The vendors go first, the
// services last: none of them meets a moment that the one before has not reached.
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { writeWhole } from '../../../infra/stack/processes.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import type { VendorHand } from './vendor-hand.ts'

export interface DrillClock {
  /** For the processes of every service. */
  readonly nodeOptions: readonly string[]
  /** ms of the simulated clock, which is the vendors'. */
  now(): number
  advance(ms: number): Promise<void>
  /** A time of the vendors' ledgers as the machine's clock had it. */
  machineTime(vendorMs: number): number
}

interface Jump {
  /** Machine time after which this shift holds. */
  readonly at: number
  readonly shiftMs: number
}

/** `databaseUrl`: the superuser's. */
export function openDrillClock(databaseUrl: string, vendor: VendorHand): DrillClock {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'calstream-clock-')), 'shift')
  const preload = pathToFileURL(path.join(import.meta.dirname, 'moved-clock.ts'))
  preload.searchParams.set('file', file)
  const jumps: Jump[] = [{ at: 0, shiftMs: 0 }]
  const shift = () => jumps.at(-1)?.shiftMs ?? 0
  writeWhole(file, '0')
  return {
    nodeOptions: [`--import=${preload.href}`],
    now: () => Date.now() + shift(),
    async advance(ms) {
      const shiftMs = shift() + ms
      await vendor.admin('POST', '/admin/clock', { advanceMs: ms })
      jumps.push({ at: Date.now(), shiftMs })
      await runStatement(
        databaseUrl,
        `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
           return clock_timestamp() + interval '${shiftMs} milliseconds'`,
      )
      writeWhole(file, String(shiftMs))
    },
    machineTime(vendorMs) {
      const jump = jumps.findLast(({ at, shiftMs }) => at + shiftMs <= vendorMs + 1)
      return vendorMs - (jump?.shiftMs ?? 0)
    },
  }
}
