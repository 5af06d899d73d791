// SCALE: sync goes from two processes to six and back under load, as an autoscaler does it. Judged
// is what a person notices: how long a change waits, and whether anything is lost.
import type { Ledgers } from '../ledgers/ledgers.ts'
import { STOPS_WITHIN, stopsOf } from '../checkers/keeping.ts'
import { allOf, below, criterion, met, noted, setUp, within, type Finding } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import { steadyLoad } from './background.ts'
import { CODE, ended, takeoversOf } from './processes.ts'

const FEW = 2
const MANY = 6
/**
 * A member that leaves in order says so. Were it only given up, its group would wait for the end of
 * its session, which lasts 8 s: nobody may notice that much.
 */
const STANDS = below(8_000, 'ms')
/** It joins, and a connection of one of its partitions has something to do. */
const WORKS_WITHIN = within(15_000)

const scale: Drill = {
  id: 'SCALE',
  title: 'Sync scaled from two processes to six and back under load',
  report: 'processes',
  criteria: {
    'SCALE.1': criterion`Nothing is lost, doubled, torn or reordered from ${setUp(FEW)} processes to ${setUp(MANY)} and back`,
    'SCALE.2': criterion`The longest wait of a change until it is stored is ${STANDS}, whoever comes and goes`,
    'SCALE.3': criterion`Each process that comes works ${WORKS_WITHIN} of being ready`,
    'SCALE.4': criterion`Each process that goes ends with code ${CODE} ${STOPS_WITHIN}`,
  },
  faults: ['K6'],
  profiles: ['ci', 'full'],
  needsMachine: true,
  system: (profile) => ({
    connections: profile === 'ci' ? 48 : 120,
    microsoft: profile === 'ci' ? 16 : 40,
    eventsPerCalendar: 10,
    latencyMs: 100,
    processes: { sync: FEW },
  }),
  invariants: ['I10', 'I15', 'I16', 'I17', 'I24'],
  wallMs: 600_000,
  recoverWithinMs: 90_000,
  limits:
    'Six processes on two cores are not faster than two: this shows that they may come and go, not what they gain.',
  async run(d) {
    const lastsMs = d.profile === 'ci' ? 12_000 : 60_000
    const calm = steadyLoad(d, 20)
    await d.lasting(lastsMs)
    const old = d.system.of('sync')
    const scaledAt = Date.now()
    const more = await comeAtOnce(d)
    await d.lasting(lastsMs)
    // Those that were there first go with two of the new ones: what they owned changes hands twice.
    const going = [...old, ...more.slice(0, MANY - 2 * FEW)]
    const backAt = Date.now()
    await goAtOnce(d, going)
    await d.lasting(lastsMs)
    await calm()
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const waits = waitsOf(ledgers)
      const worked = firstWorkOf(ledgers, more)
      const takeovers = takeoversOf(ledgers.audit)
      const writers = writersBetween(ledgers, scaledAt, backAt)
      return {
        criteria: {
          'SCALE.1': noted(holds('I1', 'I3', 'I4', 'I6', 'I8', 'I9'), `rest ${Math.round(recovered)} ms`),
          'SCALE.2': STANDS.judge(Math.max(...waits), waitsInWords(waits)),
          'SCALE.3': worksSoon(worked),
          'SCALE.4': allOf(holds('I24'), ended(stopsOf(ledgers))),
        },
        witnesses: [
          { name: 'changes while processes came and went', need: 300, got: waits.length },
          { name: 'processes that wrote while there were six', need: MANY, got: writers },
          { name: 'connections that went to another process', need: 20, got: takeovers },
        ],
        numbers: { slowestMs: Math.round(Math.max(...waits)), changes: waits.length, takeovers },
      }
    }
  },
}

async function comeAtOnce(d: DrillRun): Promise<readonly ServiceProcess[]> {
  let more: readonly ServiceProcess[] = []
  await d.strike({ fault: 'K6', action: `${MANY - FEW} members join at once`, target: 'sync' }, async () => {
    more = await Promise.all(Array.from({ length: MANY - FEW }, () => d.system.start('sync')))
  })
  return more
}

function goAtOnce(d: DrillRun, going: readonly ServiceProcess[]): Promise<void> {
  const target = going.map(({ instance }) => instance).join(', ')
  return d.strike({ fault: 'K6', action: `${going.length} members leave at once`, target }, async () => {
    await Promise.all(going.map((process) => process.stop()))
  })
}

/**
 * How long each change of a single event waited until its version or a later one of that event was
 * stored, in ms. A change that is overtaken at the vendor before anybody looks waits as well: what
 * comes after it must not hide that a connection stood. What is deleted later has no version.
 */
export function waitsOf({
  changes,
  audit,
  accounts,
  marks,
}: Pick<Ledgers, 'changes' | 'audit' | 'accounts' | 'marks'>): readonly number[] {
  const connectionOf = new Map(accounts.map(({ accountId, connectionId }) => [accountId, connectionId]))
  const storedAt = new Map<string, number>()
  for (const row of audit) {
    if (row.table !== 'external_calendar_events' || row.new === null) continue
    const key = [row.connectionId, row.new['vendor_event_id'], row.new['etag']].join(' ')
    if (!storedAt.has(key)) storedAt.set(key, row.at)
  }
  const waits: number[] = []
  /** Of an event: when its next version was stored. The last change comes first. */
  const next = new Map<string, number>()
  for (const { accountId, at, eventIds, etag, kind } of changes.toReversed()) {
    const [eventId, ...others] = eventIds
    if (kind === 'delete' || eventId === undefined || others.length > 0) continue
    const event = `${connectionOf.get(accountId)} ${eventId}`
    const stored = storedAt.get(`${event} ${etag}`) ?? next.get(event)
    if (stored === undefined) continue
    next.set(event, stored)
    if (at > marks.steadyAt) waits.push(stored - at)
  }
  return waits
}

function waitsInWords(waits: readonly number[]): string {
  const sorted = waits.toSorted((a, b) => a - b)
  const at = (part: number) => Math.round(sorted[Math.floor(part * (sorted.length - 1))] ?? 0)
  return `${sorted.length} changes waited ${at(0.5)} ms (median), ${at(0.99)} ms (p99), ${at(1)} ms at most`
}

/** For each process: how long after it was ready it claimed its first unit; null for never. */
function firstWorkOf(
  { audit, processes }: Pick<Ledgers, 'audit' | 'processes'>,
  more: readonly ServiceProcess[],
): readonly (number | null)[] {
  return more.map(({ instance }) => {
    const ready = processes.find((event) => event.instance === instance && event.event === 'ready')
    const first = audit.find(
      (row) => row.table === 'external_calendar_connections' && row.process.startsWith(`${instance}#`),
    )
    return ready === undefined || first === undefined ? null : first.at - ready.at
  })
}

function worksSoon(worked: readonly (number | null)[]): Finding {
  const never = worked.filter((ms) => ms === null).length
  const slowest = Math.max(...worked.map((ms) => ms ?? 0))
  return allOf(
    WORKS_WITHIN.judge(slowest, `first unit ${Math.round(slowest)} ms after it was ready, at most`),
    met(never === 0, `${never} never worked`),
  )
}

function writersBetween({ audit }: Pick<Ledgers, 'audit'>, from: number, to: number): number {
  const writing = audit.filter(({ at, role }) => role === 'calstream_sync' && at > from && at < to)
  return new Set(writing.map(({ process }) => process)).size
}

export const SCALING: readonly Drill[] = [scale]
