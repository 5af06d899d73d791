// Processes killed: at random, all at once, again and again. At every named point: crash-points.ts.
import type { ServiceName } from '../../../infra/stack/services.ts'
import type { InvariantId } from '../checkers/check.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { allOf, atMost, criterion, met, noted, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { badLine } from '../faults/lines.ts'
import { isReady, killAllAndAwait, killAndAwait } from '../faults/processes.ts'
import { LISTING } from '../faults/vendors.ts'
import { between, pick } from '../random.ts'
import { reconcileNow } from './asking.ts'

/** What has to hold whatever dies. */
export const CRASH_INVARIANTS: readonly InvariantId[] = ['I10', 'I15', 'I16', 'I17', 'I26']
/** A relay repeats at most the batch that it had not deleted yet. */
const REPEATS_PER_KILL = atMost(1_000)
const BACK_WITHIN = within(15_000)

const randomKills: Drill = {
  id: 'KILL',
  title: 'kill -9 of ingress, sync, relay, retry and scheduler at random under load',
  report: 'processes',
  criteria: {
    'KILL.1': criterion`No lost change, no double, no partial state, no order break`,
    'KILL.2': criterion`Every acknowledged notification is durable`,
    'KILL.3': criterion`Repeats on the topic are ${REPEATS_PER_KILL} for each kill of a relay, with the same id and bytes`,
    'KILL.4': criterion`Everything comes back by itself ${BACK_WITHIN}`,
  },
  faults: ['P1', 'P2', 'P3', 'N7'],
  profiles: ['smoke', 'ci', 'full', 'secure'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 20, full: 100 }[profile],
    eventsPerCalendar: 20,
    latencyMs: 40,
    processes: { sync: 2, relay: 2 },
  }),
  invariants: CRASH_INVARIANTS,
  wallMs: 1_200_000,
  recoverWithinMs: 120_000,
  limits: 'kill -9 keeps the page cache: a power cut of the whole machine is not shown.',
  async run(d) {
    const kills = { smoke: 8, ci: 28, full: 300 }[d.profile]
    const ids = d.system.accounts.map(({ accountId }) => accountId)
    const quiet = ids.slice(0, QUIET)
    const load = d.load(40, kills * 1_300 + 2_000, ids.slice(QUIET))
    const back: number[] = []
    const killed = new Map<ServiceName, number>()
    const busy = new Set<string>()
    const under: Promise<void>[] = []
    const problems: unknown[] = []
    for (let n = 0; n < kills && !d.signal.aborted; n += 1) {
      const free = () => d.system.services.filter(({ instance, running }) => running && !busy.has(instance))
      // On a slow machine all of them may be on their way back.
      await d.until('a process is there to be killed', () => free().length > 0, 60_000)
      // Those that were not killed yet come first, so that luck leaves none out.
      const spared = free().filter(({ service }) => !killed.has(service))
      const victim = pick(d.random, spared.length > 0 ? spared : free())
      killed.set(victim.service, (killed.get(victim.service) ?? 0) + 1)
      busy.add(victim.instance)
      under.push(
        killAndAwait(d, faultOf(victim.service), victim)
          .then((ms) => void back.push(ms))
          .catch((error: unknown) => void problems.push(error))
          .finally(() => busy.delete(victim.instance)),
      )
      await d.lasting(between(d.random, 300, 2_200))
    }
    await Promise.all(under)
    if (problems.length > 0) throw problems[0]
    const loaded = await load
    await reconcileNow(
      d,
      d.system.accounts.filter(({ accountId }) => !quiet.includes(accountId)),
    )
    // A group that lost members takes 8 s and more to come back; the only ring is to be read soon.
    const recovered = await d.converged(120_000)
    const changes = loaded + (await dieOverTheOnlyRing(d, quiet)) + (await dieOverUnpublishedRows(d, quiet))
    await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const repeats = repeatedMessages(ledgers)
      const relayKills = killed.get('relay') ?? 0
      return {
        criteria: {
          'KILL.1': holds('I1', 'I3', 'I6', 'I7', 'I8', 'I9'),
          'KILL.2': holds('I15'),
          'KILL.3': allOf(
            holds('I4'),
            REPEATS_PER_KILL.judge(
              repeats / Math.max(1, relayKills),
              `${repeats} repeats after ${relayKills} kills of a relay`,
            ),
          ),
          'KILL.4': noted(
            BACK_WITHIN.judge(
              Math.max(...back),
              `ready again after at most ${Math.round(Math.max(...back))} ms`,
            ),
            `rest ${Math.round(recovered)} ms`,
          ),
        },
        witnesses: [
          { name: 'kills', need: kills, got: back.length },
          { name: 'services that were killed', need: d.profile === 'smoke' ? 2 : 5, got: killed.size },
          { name: 'changes meanwhile', need: kills * 20, got: changes },
        ],
        numbers: { kills: back.length, changes, repeats, slowestBackMs: Math.round(Math.max(...back)) },
      }
    }
  },
}

/** Accounts that stay untouched until the end. */
const QUIET = 2
/** Under the 30 s after which a call is given up. */
const READ_LASTS_MS = 20_000
/** Offsets are committed every 200 ms. */
const COMMITS_MS = 1_000

/**
 * One change at accounts that were quiet until then. Every sync dies while it reads that change. If
 * a sync had already called the ring done, no later ring would help.
 * @returns the changes.
 */
async function dieOverTheOnlyRing(d: DrillRun, quiet: readonly string[]): Promise<number> {
  const { vendor } = d.system
  const slow = await Promise.all(
    quiet.map((accountId) => vendor.fault({ match: { path: LISTING, accountId }, delayMs: READ_LASTS_MS })),
  )
  const changes = await d.load(quiet.length, 1_000, quiet)
  await d.until(
    'every quiet account is read',
    async () => (await Promise.all(slow.map((id) => vendor.hits(id)))).every((hits) => hits > 0),
    READ_LASTS_MS,
  )
  await d.lasting(COMMITS_MS)
  await killAllAndAwait(d, 'P2', d.system.of('sync'))
  for (const id of slow) await vendor.admin('DELETE', `/admin/faults/${id}`)
  await d.converged(60_000)
  return changes
}

/**
 * Every relay dies while the broker does not answer it. What it has read and not published must
 * still be there.
 * @returns the changes.
 */
async function dieOverUnpublishedRows(d: DrillRun, quiet: readonly string[]): Promise<number> {
  const { vendor, stack } = d.system
  const listingMs = 3_000
  await vendor.admin('POST', '/admin/latency', { ms: listingMs })
  const changes = await d.load(quiet.length, 1_000, quiet)
  // The units have their rings and wait for the vendor; they commit while the broker is mute.
  const mute = await badLine(
    d,
    { fault: 'N7', action: 'answers are lost', target: 'kafka', line: stack.lines.kafka },
    { mute: 'down' },
  )
  await d.lasting(listingMs + 500)
  // Who starts again is ready only when the broker answers.
  const back = killAllAndAwait(d, 'P3', d.system.of('relay'))
  await d.lasting(500)
  await mute.heal()
  await back
  await vendor.admin('POST', '/admin/latency', { ms: 40 })
  return changes
}

function faultOf(service: ServiceName): string {
  return service === 'ingress' ? 'P1' : service === 'relay' ? 'P3' : 'P2'
}

const everythingAtOnce: Drill = {
  id: 'ALL-AT-ONCE',
  title: 'kill -9 of every process at once; a crash loop of sync',
  report: 'processes',
  criteria: {
    'ALL.1': criterion`Restart from anything, in any order, without a manual step`,
    'ALL.2': criterion`A process that dies again and again still makes progress`,
    'ALL.3': criterion`Nothing lost, doubled or torn`,
  },
  faults: ['P7', 'P8'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 30, latencyMs: 40 }),
  invariants: CRASH_INVARIANTS,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'A process that dies more often than a Kafka session lasts (8 s) makes no progress: the broker waits for its predecessor.',
  async run(d) {
    const rounds = d.profile === 'ci' ? 3 : 20
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(40, 3_000)
    })()
    for (let round = 0; round < rounds && !d.signal.aborted; round += 1) {
      await d.lasting(between(d.random, 500, 3_000))
      await killAllAndAwait(d, 'P7', d.system.services)
    }
    const sync = d.system.one('sync')
    const killed = await progressOf(d)
    // A member that died while joining is waited for twice. The loop begins with one that has its
    // partitions.
    await d.until('sync works again', async () => (await progressOf(d)) > killed, 60_000)
    const before = await progressOf(d)
    const until = Date.now() + (d.profile === 'ci' ? 22_000 : 90_000)
    let loops = 0
    while (Date.now() < until && !d.signal.aborted) {
      await d.until('sync runs', () => sync.running && isReady(sync), 30_000)
      // A dead member keeps its partitions for a session of 8 s. One that always dies sooner gets
      // none.
      await d.lasting(between(d.random, 9_500, 11_500))
      await d.strike({ fault: 'P8', action: 'crash loop', target: sync.instance }, () => sync.kill())
      loops += 1
    }
    const after = await progressOf(d)
    going = false
    await load
    const recovered = await d.converged(120_000)
    return ({ holds }) => ({
      criteria: {
        'ALL.1': noted(holds('I26'), `${rounds} times everything, rest ${Math.round(recovered)} ms`),
        'ALL.2': met(after > before, `${after - before} rows were written during ${loops} deaths in a row`),
        'ALL.3': holds('I1', 'I3', 'I4', 'I6', 'I7', 'I8', 'I15'),
      },
      witnesses: [{ name: 'deaths', need: rounds * 5 + 2, got: rounds * d.system.services.length + loops }],
      numbers: { kills: rounds * d.system.services.length + loops, recoveryMs: Math.round(recovered) },
    })
  },
}

async function progressOf({ system }: DrillRun): Promise<number> {
  const rows = await system.ask<{ n: number }>(
    "select count(*)::int as n from drill_audit.entries where table_name = 'external_calendar_events'",
  )
  return rows[0]?.n ?? 0
}

export const KILLS: readonly Drill[] = [randomKills, everythingAtOnce]
