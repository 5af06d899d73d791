// REPAIR: an operator pauses many accounts under load, resumes them and has all read from the
// start, while the schedulers that do it are killed in the middle.
import { allOf, criterion, met, noted, setUp } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { killAllAndAwait } from '../faults/processes.ts'
import { isListing } from '../checkers/history.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { askForSync, slowPages } from './asking.ts'
import { steadyLoad } from './background.ts'
import { CRASH_INVARIANTS } from './kills.ts'

/** A call that was under way at the pause ends; its page is refused. */
const CALLS_END_MS = 3_000
const PAUSED_MS = 10_000
const ENDS_WITHIN_MS = 90_000
const LATENCY_MS = 700

const repairing: Drill = {
  id: 'REPAIR',
  title:
    'Accounts are paused, resumed and read from the start under load; the schedulers are killed meanwhile',
  report: 'processes',
  criteria: {
    'REPAIR.1': criterion`No unit of a paused account reads on, though its vendor rings: each page took ${setUp(LATENCY_MS, 'ms')}`,
    'REPAIR.2': criterion`Each pause and each end of one is told once`,
    'REPAIR.3': criterion`Each repair ends with every account done once`,
    'REPAIR.4': criterion`What changed meanwhile is caught up, and nothing is lost`,
  },
  faults: ['P2'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 24 : 80,
    microsoft: profile === 'ci' ? 12 : 40,
    eventsPerCalendar: 30,
    latencyMs: 30,
    processes: { scheduler: 2 },
  }),
  invariants: CRASH_INVARIANTS,
  wallMs: 420_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const paused = d.system.accounts.filter(({ vendor }) => vendor === 'microsoft')
    const calm = steadyLoad(d, 25)
    await slowPages(d, 2, LATENCY_MS)
    // Units of many pages are under way when the pause comes.
    for (const { accountId, providerId } of paused) {
      await d.system.vendor.admin('POST', '/admin/cursors/expire', { accountId })
      await askForSync(d, providerId, 'ring just before the pause')
    }
    await d.lasting(2_000)
    const pause = await repair(
      d,
      { kind: 'pause', filter: { vendor: 'microsoft' }, ratePerS: 2 },
      paused.length,
    )
    await d.lasting(PAUSED_MS)
    const resume = await repair(d, { kind: 'resume', filter: { all: true }, ratePerS: 2 }, paused.length)
    await slowPages(d, 2_500, 20)
    const all = d.system.accounts.length
    const reads = await repair(d, { kind: 'full_read', filter: { all: true }, ratePerS: 4 }, all)
    await calm()
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const told = changesOf(ledgers)
      const pauses = paused.map((account) => ({ ...account, ...pauseOf(told, account.connectionId) }))
      const during = (
        { start }: { readonly start: number },
        one: { readonly from: number; readonly to: number },
      ) => start > one.from + CALLS_END_MS && start < one.to
      const listings = ledgers.calls.filter(isListing)
      const read = listings.filter((call) =>
        pauses.some((one) => one.accountId === call.accountId && during(call, one)),
      )
      const [first] = pauses
      const others =
        listings.filter((call) => first !== undefined && during(call, first)).length - read.length
      const repairs = [pause, resume, reads]
      return {
        criteria: {
          'REPAIR.1': met(read.length === 0, `${read.length} listings of paused accounts`),
          'REPAIR.2': met(
            pauses.every(({ changes }) => changes === 'active disabled active') &&
              told.length === 2 * paused.length,
            `${told.length} changes of ${paused.length} accounts told`,
          ),
          'REPAIR.3': met(
            repairs.every(({ done, total }) => done === total),
            repairs.map(({ done, total }) => `${done} of ${total}`).join(', '),
          ),
          'REPAIR.4': allOf(
            holds('I1', 'I26'),
            noted(holds('I4'), `rest ${Math.round(recovered)} ms after the load`),
          ),
        },
        witnesses: [
          {
            name: 'schedulers killed in the middle of a repair',
            need: 3,
            got: repairs.filter(({ wasKilled }) => wasKilled).length,
          },
          { name: 'listings of others meanwhile', need: 5, got: others },
          {
            name: 'notifications of paused accounts acknowledged',
            need: 5,
            got: first === undefined ? 0 : acknowledged(ledgers, first),
          },
        ],
        numbers: { paused: paused.length, read: reads.done },
      }
    }
  },
}

interface Asked {
  readonly kind: string
  readonly filter: object
  readonly ratePerS: number
}

interface Ended {
  readonly total: number
  readonly done: number
  /** Its schedulers died after some was done and before all was. */
  readonly wasKilled: boolean
}

/** Asks as the command does, and kills every scheduler when some of it is done. */
async function repair(d: DrillRun, { kind, filter, ratePerS }: Asked, total: number): Promise<Ended> {
  const [row] = await d.system.ask<{ id: string }>(
    `insert into repairs (kind, filter, asked_by, rate_per_s, total) values ($1, $2::jsonb, 'drill', $3, $4) returning id`,
    [kind, JSON.stringify(filter), ratePerS, total],
  )
  const now = async () => {
    const [at] = await d.system.ask<{ state: string; done: number }>(
      'select state, done from repairs where id = $1',
      [row?.id],
    )
    return at ?? { state: 'gone', done: 0 }
  }
  await d.until('some of it is done', async () => (await now()).done > 2, ENDS_WITHIN_MS)
  await killAllAndAwait(d, 'P2', d.system.of('scheduler'))
  const { state } = await now()
  await d.until(`${kind} has ended`, async () => (await now()).state === 'done', ENDS_WITHIN_MS)
  return { total, done: (await now()).done, wasKilled: state === 'running' }
}

interface Told {
  readonly key: string
  readonly status: string
  readonly previousStatus: string
  readonly at: number
}

/** Every change between being active and being paused. */
function changesOf({ topics }: Ledgers): readonly Told[] {
  return (topics.get('calendar.connection.changed.v1') ?? []).flatMap(({ key, message }) => {
    const { status = '', previousStatus = '', at = 0 } = (message ?? {}) as Partial<Told>
    return [status, previousStatus].includes('disabled') ? [{ key, status, previousStatus, at }] : []
  })
}

/** When the pause of a connection began and ended, and the statuses that were told. Times: ms. */
function pauseOf(told: readonly Told[], id: string) {
  const own = told.filter(({ key }) => key === id)
  const [begin, end] = own
  return {
    from: (begin?.at ?? 0) / 1000,
    to: (end?.at ?? 0) / 1000,
    changes: [begin?.previousStatus, ...own.map(({ status }) => status)].join(' '),
  }
}

/** Graph's notifications have no number. */
function acknowledged(
  { webhooks }: Ledgers,
  { from, to }: { readonly from: number; readonly to: number },
): number {
  return webhooks.filter(
    ({ at, status, messageNumber }) => at > from && at < to && status === 202 && messageNumber === 0,
  ).length
}

export const REPAIRING: readonly Drill[] = [repairing]
