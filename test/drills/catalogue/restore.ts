// RESTORE: everything dies, and Postgres comes back as it was at its last backup, while vendors and
// readers have gone on. Judged is what a reader has who drops the numbers that it has passed.
import { TOPICS } from '#schemas/topics.ts'
import { foldChanges } from '../../../infra/oracle/verify.ts'
import { restoreBackup, takeBackup } from '../../support/backup.ts'
import { allOf, criterion, met, noted, within, type Finding } from '../criterion.ts'
import { DrillFailed, type Drill, type DrillRun } from '../drill.ts'
import { calstream, type Ended } from '../environment/command.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { steadyLoad } from './background.ts'

const WHOLE_AGAIN = within(120_000)
/** The sessions of killed consumers last 8 s, and the first look may come just before their end. */
const STOPPED_WITHIN_MS = 60_000
/** Messages in the backup that are published after it. */
const WAITING_MIN = 60
/** Of these, such as are no longer the last word about their event when all dies. */
const [OVERTAKEN_MIN, OVERTAKEN_MAX] = [5, 10]
const MADE_MIN = 4

const TWO_TIMELINES = 'its ledger holds what the restore undid as well: two timelines'

const restore: Drill = {
  id: 'RESTORE',
  title: 'Postgres restored to an earlier moment, under readers and vendors that went on',
  report: 'infrastructure',
  criteria: {
    'RESTORE.1': criterion`A reader that drops the numbers it has passed ends equal to the vendor, and so does Postgres, ${WHOLE_AGAIN} of the command`,
    'RESTORE.2': criterion`No number comes again with another content, none is left out, and no message of before the backup stands above a later one`,
    'RESTORE.3': criterion`The command refuses while services run, and doctor tells before and after how it is`,
  },
  faults: ['D16', 'P1'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 8 : 40,
    microsoft: profile === 'ci' ? 3 : 10,
    eventsPerCalendar: 20,
    latencyMs: 20,
  }),
  invariants: [],
  without: {
    I3: TWO_TIMELINES,
    I4: TWO_TIMELINES,
    I6: TWO_TIMELINES,
    I7: TWO_TIMELINES,
    I8: TWO_TIMELINES,
    I9: TWO_TIMELINES,
  },
  wallMs: 400_000,
  recoverWithinMs: WHOLE_AGAIN.limit,
  limits:
    'The backup is one snapshot of all tables and the sequences as they stood, as pg_dump takes it; the cluster is the same.',
  async run(d) {
    const [rate, goesOnMs] = d.profile === 'ci' ? [15, 6_000] : [40, 30_000]
    const calm = steadyLoad(d, rate)
    const waiting = await backUpWithWaiting(d)
    await calm()
    // The load takes and changes what it finds, so from here on it goes to other accounts.
    const made = await madeSince(d)
    const others = d.system.accounts.slice(MADE_MIN).map(({ accountId }) => accountId)
    await d.load(rate, goesOnMs, others)
    const toldAgain = await overtake(d)
    const refused = await calstream(d.system, ['after-restore'])
    await d.strike({ fault: 'P1', action: 'kill -9, for good', target: 'every service' }, async () => {
      await Promise.all(d.system.services.map((service) => service.kill({ stayDown: true })))
    })
    const used = await numbersUsed(d)
    await d.strike({ fault: 'D16', action: 'restored to its backup', target: 'postgres' }, () =>
      restoreBackup(d.system.databaseUrl),
    )
    const restoredAt = Date.now()
    const undone = used - (await numbersUsed(d))
    const before = await restoredLine(d)
    // What the restored database never heard of goes while nothing listens, and something changes.
    await Promise.all(made.map((route) => d.system.vendor.admin('DELETE', route)))
    await d.load(10, 2_000, others.slice(0, 1))
    const report = await putRight(d)
    await Promise.all(d.system.services.map((service) => service.restart(d.signal)))
    const wholeMs = await d.converged(WHOLE_AGAIN.limit)
    const after = await restoredLine(d)
    return ({ ledgers, holds }) => ({
      criteria: {
        'RESTORE.1': allOf(
          holds('I1', 'I2', 'I5'),
          WHOLE_AGAIN.judge(wholeMs, `whole ${Math.round(wholeMs)} ms after the services were back`),
        ),
        'RESTORE.2': readInOrder(ledgers, restoredAt),
        'RESTORE.3': met(
          refused.code === 1 && refused.stderr.includes('Services run') && !before.ok && after.ok,
          `while they ran: ${refused.stderr.slice(0, 60)}…; before: ${before.found.slice(0, 80)}…; after: ${after.found}`,
        ),
      },
      witnesses: [
        { name: 'messages in the backup that were published after it', need: WAITING_MIN, got: waiting },
        { name: 'such whose event was told again before the kill', need: OVERTAKEN_MIN, got: toldAgain },
        { name: 'numbers that the restore undid', need: 20, got: undone },
        {
          name: 'events made after the backup and gone before the restart',
          need: MADE_MIN,
          got: made.length,
        },
        { name: 'connections whose number was behind', need: 2, got: report['raised'] ?? 0 },
      ],
      numbers: { wholeMs: Math.round(wholeMs), undone, ...report },
    })
  },
}

/** What a reader of either topic of events objects to. `restoredAt`: by the reader's clock. */
function readInOrder({ topics }: Pick<Ledgers, 'topics'>, restoredAt: number): Finding {
  const { differences, repeats } = foldChanges(topics.get(TOPICS.eventChanged) ?? [])
  const [first] = differences
  const greatest = new Map<string, number>()
  let above = 0
  for (const { key, headers, receivedAtMs } of topics.get(TOPICS.eventState) ?? []) {
    const sequence = Number(headers.get('ce_sequence'))
    const last = greatest.get(key) ?? 0
    if (sequence < last && receivedAtMs > restoredAt) above += 1
    greatest.set(key, Math.max(sequence, last))
  }
  return noted(
    met(
      differences.length === 0 && above === 0,
      `${differences.length} records that a reader objects to${first ? `, first: ${first.kind} ${first.story}` : ''}; ${above} messages of before stand above a later one in the compacted topic`,
    ),
    `${repeats} records came again with the same bytes`,
  )
}

/**
 * Changes events again of which a message lies in the backup's outbox, until the stream has told
 * that. Published again after the restore, such a message would stand above a later one. They are
 * of accounts that the load has left alone since.
 * @returns how many events there are.
 */
async function overtake(d: DrillRun): Promise<number> {
  const accounts = d.system.accounts.slice(0, MADE_MIN)
  const found = await d.system.ask<{ key: string; connection: string; calendar: string; event: string }>(
    `select distinct held.key, stored.connection_id as connection,
            calendar.vendor_calendar_id as calendar, stored.vendor_event_id as event
       from backup.outbox held
       join external_calendar_events stored on stored.event_id::text = split_part(held.key, '/', 3)
       join external_calendars calendar on calendar.id = stored.calendar_id
      where held.topic = $1 and stored.connection_id = any($2::uuid[]) order by 1 limit ${OVERTAKEN_MAX}`,
    [TOPICS.eventState, accounts.map(({ connectionId }) => connectionId)],
  )
  for (const { connection, calendar, event } of found) {
    const account = accounts.find(({ connectionId }) => connectionId === connection)
    const place = `/admin/accounts/${account?.accountId}/calendars/${encodeURIComponent(calendar)}`
    await d.system.vendor.admin('PATCH', `${place}/events/${encodeURIComponent(event)}`, {})
  }
  const keys = found.map(({ key }) => key)
  await d.until(
    'what waits in the backup is told again',
    async () => (await overtaken(d, keys)) === keys.length,
    60_000,
  )
  return keys.length
}

/** How many of these events were published with a later number than the one of the backup. */
async function overtaken(d: DrillRun, keys: readonly string[]): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    `select count(distinct held.key)::int as n from backup.outbox held
       join external_calendar_events stored on stored.event_id::text = split_part(held.key, '/', 3)
      where held.topic = $1 and held.key = any($2::text[])
        and stored.sequence > (held.headers ->> 'ce_sequence')::bigint
        and not exists (select from outbox waiting where waiting.topic = $1 and waiting.key = held.key)`,
    [TOPICS.eventState, keys],
  )
  return row?.n ?? 0
}

/** The relay stands still over the backup, so that messages wait in it. @returns how many. */
async function backUpWithWaiting(d: DrillRun): Promise<number> {
  const relay = d.system.one('relay')
  relay.pause()
  try {
    await d.until('messages wait for the relay', async () => (await outboxSize(d)) >= WAITING_MIN, 60_000)
    await takeBackup(d.system.databaseUrl)
  } finally {
    relay.resume()
  }
  const [row] = await d.system.ask<{ n: number }>(
    `select count(*)::int as n from backup.outbox where topic like 'calendar.event.%'`,
  )
  return row?.n ?? 0
}

/** Events that are made now and told by the stream. @returns their routes. */
async function madeSince(d: DrillRun): Promise<readonly string[]> {
  const made = await Promise.all(
    d.system.accounts.slice(0, MADE_MIN).map(async ({ accountId, calendars }) => {
      const route = `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendars[0]?.id ?? '')}/events`
      const { id } = await d.system.vendor.admin<{ id: string }>('POST', route, {})
      return { id, route: `${route}/${encodeURIComponent(id)}` }
    }),
  )
  const ids = made.map(({ id }) => id)
  await d.until(
    'what was made is stored and told',
    async () => {
      const [row] = await d.system.ask<{ n: number }>(
        `select count(*)::int as n from external_calendar_events stored
          where vendor_event_id = any($1)
            and not exists (select from outbox where key like '%/' || stored.event_id)`,
        [ids],
      )
      return row?.n === ids.length
    },
    60_000,
  )
  return made.map(({ route }) => route)
}

/** Runs the command until no service counts as running any more. @returns what it says it did. */
async function putRight(d: DrillRun): Promise<Record<string, number>> {
  let last: Ended = { code: -1, stdout: '', stderr: 'it was not run' }
  await d.until(
    'the groups of the killed services are empty',
    async () => {
      last = await calstream(d.system, ['--json', 'after-restore'])
      return !last.stderr.includes('Services run')
    },
    STOPPED_WITHIN_MS,
  )
  if (last.code !== 0)
    throw new DrillFailed(`calstream after-restore ended with ${last.code}: ${last.stderr}`)
  return JSON.parse(last.stdout) as Record<string, number>
}

async function restoredLine(d: DrillRun): Promise<{ readonly ok: boolean; readonly found: string }> {
  const { stdout, stderr } = await calstream(d.system, ['--json', 'doctor', '--restored'])
  const lines = JSON.parse(stdout === '' ? '[]' : stdout) as { ok: boolean; what: string; found: string }[]
  return lines.find(({ what }) => what === 'restored') ?? { ok: false, found: `no line: ${stderr}` }
}

async function outboxSize(d: DrillRun): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    `select count(*)::int as n from outbox where topic like 'calendar.event.%'`,
  )
  return row?.n ?? 0
}

/** The numbers of all connections, added up. */
async function numbersUsed(d: DrillRun): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    'select sum(version)::int as n from external_calendar_connections',
  )
  return row?.n ?? 0
}

export const RESTORES: readonly Drill[] = [restore]
