// What keeps connections from being up to date, counted by the database: the same causes that the
// words give each of them, whatever way its rows are, and by statements that no index or list makes
// slow for a large fleet.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pino } from 'pino'
import type { CauseCode } from '#shared/domain/causes.ts'
import { cappedBy, closedBy, type GateDecision } from '#shared/domain/gates.ts'
import { connectionId, providerId, type ConnectionId } from '#shared/domain/ids.ts'
import { whyOfConnection } from '#shared/domain/why.ts'
import { Secret } from '#shared/process/secret.ts'
import { countCauses, listByCause } from '#shared/store/cause-counts.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import type { Admission } from '#shared/store/status.ts'
import { findConnections, readWhyFacts } from '#shared/store/why.ts'
import { measured } from '../../support/measured.ts'
import { freshDatabase } from '../../support/stack.ts'

const owned = new AsyncDisposableStack()
let db: Database
/** The superuser's, who fills the tables. */
let rows: Database
beforeAll(async () => {
  const database = owned.use(await freshDatabase('causes'))
  const open = (url: string) =>
    owned.use(
      openDatabase({ url: new Secret(url), applicationName: 'test', poolMax: 4 }, pino({ level: 'silent' })),
    )
  rows = open(database.url())
  db = open(database.url('calstream_scheduler'))
})
afterAll(() => owned.disposeAsync())

/** Every value of each column with some of the others: a row a combination. */
function combinations(
  columns: Readonly<Record<string, readonly string[]>>,
  count: number,
): readonly string[] {
  const all = Object.values(columns)
  return Array.from({ length: count }, (_, row) =>
    // Steps that have no common divisor with the lengths meet every pair of values.
    all
      .map(
        (values, column) =>
          values[(row * (column * 2 + 1) + Math.floor(row / 7) * (column + 1)) % values.length],
      )
      .join(', '),
  )
}

const AHEAD = `calstream_now() + interval '1 hour'`
const BEFORE = `calstream_now() - interval '1 minute'`
const LONG_AGO = `calstream_now() - interval '31 minutes'`
const error = (code: string) => `'{"code": "${code}", "message": "No."}'`

const CONNECTION_COLUMNS = {
  status: [`'active'`, `'active'`, `'active'`, `'needs_reauth'`, `'active'`, `'disabled'`, `'disconnected'`],
  last_synced_at: ['null', BEFORE, LONG_AGO],
  sync_needed: ['true', 'false'],
  last_error: [
    'null',
    'null',
    error('vendor/throttled'),
    error('vendor/unavailable'),
    error('vendor/client-rejected'),
    error('vendor/admin-required'),
    error('vendor/access-denied'),
    error('vendor/grant-revoked'),
  ],
  backoff_until: ['null', AHEAD, BEFORE],
  connected_at: [BEFORE, LONG_AGO],
  probe_at: ['null', AHEAD],
}
const CALENDAR_COLUMNS = {
  selected: ['true', 'true', 'true', 'false'],
  read_needed: ['true', 'false'],
  failures: ['0', '0', '1'],
  missing_since: ['null', 'null', 'null', BEFORE],
  sweep_below: ['null', 'null', '3'],
  reading: [`'usual'`, `'usual'`, `'plain'`],
  resync_after: ['null', AHEAD, BEFORE],
  last_read_at: [BEFORE, 'null', LONG_AGO, BEFORE],
  channel_attempts: ['0', '0', '2'],
  push_supported: ['true', 'true', 'false'],
  unrung_finds: ['0', '3'],
}
const COUNT = 400

/** Connections and calendars of every kind; every fifth connection has no calendar. */
async function fill(count: number): Promise<readonly ConnectionId[]> {
  const ways = combinations(CONNECTION_COLUMNS, count)
  const { rows: made } = await rows.query<{ id: string }>(
    `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, ${Object.keys(CONNECTION_COLUMNS).join(', ')})
     values ${ways.map((way, at) => `(gen_random_uuid(), '${at % 3 === 0 ? 'microsoft' : 'google'}', gen_random_uuid()::text, ${way})`).join(',')}
     returning id`,
  )
  const ids = made.map(({ id }) => connectionId(id))
  const calendars = combinations(CALENDAR_COLUMNS, count)
  await rows.query(
    `insert into external_calendars (connection_id, vendor_calendar_id, ${Object.keys(CALENDAR_COLUMNS).join(', ')})
     values ${calendars.flatMap((way, at) => (at % 5 === 0 ? [] : [`('${ids[at]}', gen_random_uuid()::text, ${way})`])).join(',')}`,
  )
  await rows.query(
    `insert into held_requests (connection_id, gate)
     select id, 'CALENDAR_SYNC_ENABLED' from external_calendar_connections where abs(hashtext(id::text)) % 4 = 0`,
  )
  await rows.query(
    `insert into connection_credentials (connection_id, refresh_token, grant_ends_at)
     select id, 'sealed', calstream_now() + (abs(hashtext(id::text)) % 3) * interval '5 days' from external_calendar_connections`,
  )
  return ids
}

const NOBODY: Admission = { sync: 'on', providers: [], connections: null }
const EVERYBODY: Admission = { sync: 'on', providers: null, connections: null }
const NO_CAPS = { sync: false, providers: null, connections: null }

describe('the causes that the database counts', () => {
  const gates: readonly (readonly [string, Admission, GateDecision])[] = [
    ['open gates', EVERYBODY, { state: 'on' }],
    [
      'unknown gates',
      { sync: 'unknown', providers: null, connections: null },
      { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' },
    ],
    ['sync switched off', { ...EVERYBODY, sync: 'off' }, closedBy('CALENDAR_SYNC_ENABLED')],
    ['an empty list of providers', NOBODY, closedBy('CALENDAR_ALLOWLIST_PROVIDER_IDS')],
    [
      'an empty list of connections',
      { ...EVERYBODY, connections: [] },
      closedBy('CALENDAR_ALLOWLIST_CONNECTION_IDS'),
    ],
    [
      'a capped switch',
      { ...EVERYBODY, sync: 'off', caps: { ...NO_CAPS, sync: true } },
      cappedBy('CALENDAR_SYNC_ENABLED'),
    ],
    [
      'a capped list',
      { ...NOBODY, caps: { ...NO_CAPS, providers: [] } },
      cappedBy('CALENDAR_ALLOWLIST_PROVIDER_IDS'),
    ],
  ]
  let ids: readonly ConnectionId[] = []
  beforeAll(async () => {
    ids = await fill(COUNT)
  })

  test.each(gates)('are those of the words for every connection, with %s', async (_name, admission, gate) => {
    const expected = new Map<CauseCode, Set<string>>()
    for (const id of ids) {
      const found = await readWhyFacts(db, id)
      if (found === null) throw new Error('a connection is gone')
      const { connection, calendars } = found
      const why = whyOfConnection({
        connection,
        calendars,
        gate,
        installation: { processes: null },
        place: null,
      })
      for (const { code } of why.causes) expected.set(code, (expected.get(code) ?? new Set()).add(id))
    }
    const counts = await countCauses(db, admission)
    const counted = Map.groupBy(counts, ({ cause }) => cause)
    const sums = [...counted].map(
      ([cause, all]) => [cause, all.reduce((sum, { connections }) => sum + connections, 0)] as const,
    )
    expect(Object.fromEntries(sums)).toEqual(
      Object.fromEntries([...expected].map(([code, all]) => [code, all.size])),
    )
    for (const [cause, all] of expected) {
      const filter = { cause, vendor: null, provider: null, sinceBefore: null, after: null, limit: COUNT }
      expect(new Set((await listByCause(db, admission, filter)).map(({ id }) => id))).toEqual(all)
    }
  })

  test('are told with the oldest time first, and those without a time last', async () => {
    const counts = await countCauses(db, EVERYBODY)
    const times = counts.map(({ oldestSince }) => oldestSince ?? Infinity)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(counts.some(({ oldestSince }) => oldestSince !== null)).toBe(true)
  })

  test('are listed page by page, by vendor, by provider and by age', async () => {
    const all = {
      cause: 'late',
      vendor: null,
      provider: null,
      sinceBefore: null,
      after: null,
      limit: COUNT,
    } as const
    const late = await listByCause(db, EVERYBODY, all)
    expect(late.length).toBeGreaterThan(5)
    const paged: ConnectionId[] = []
    for (let after: ConnectionId | null = null; ;) {
      const page: readonly { readonly id: ConnectionId }[] = await listByCause(db, EVERYBODY, {
        ...all,
        after,
        limit: 3,
      })
      paged.push(...page.map(({ id }) => id))
      if (page.length < 3) break
      after = page.at(-1)?.id ?? null
    }
    expect(paged).toEqual(late.map(({ id }) => id))
    const vendors = await Promise.all(
      (['google', 'microsoft'] as const).map((vendor) => listByCause(db, EVERYBODY, { ...all, vendor })),
    )
    expect(vendors.map((some) => some.length > 0)).toEqual([true, true])
    expect(vendors.flat().length).toBe(late.length)
    const { rows: owners } = await rows.query<{ provider_id: string }>(
      'select provider_id from external_calendar_connections where id = $1',
      [late[0]?.id],
    )
    const own = await listByCause(db, EVERYBODY, {
      ...all,
      provider: providerId(owners[0]?.provider_id ?? ''),
    })
    expect(own.map(({ id }) => id)).toEqual([late[0]?.id])
    expect(await listByCause(db, EVERYBODY, { ...all, sinceBefore: 1 })).toEqual([])
  })
})

describe('a connection', () => {
  test('is found by its id, by its address in any letter case, and by its name; not by a part of them', async () => {
    const { rows: made } = await rows.query<{ id: string }>(
      `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, account_label)
       values (gen_random_uuid(), 'google', 'Ada@example.com', null), (gen_random_uuid(), 'microsoft', 'graph-id', 'ada@example.com')
       returning id`,
    )
    const both = made.map(({ id }) => id).toSorted()
    expect((await findConnections(db, 'ADA@example.com', 10)).toSorted()).toEqual(both)
    expect(await findConnections(db, both[0]?.toUpperCase() ?? '', 10)).toEqual([both[0]])
    expect(await findConnections(db, 'graph-id', 10)).toHaveLength(1)
    expect(await findConnections(db, 'ada@example.com', 1)).toHaveLength(1)
    for (const wrong of ['ada', '%', '']) expect(await findConnections(db, wrong, 10)).toEqual([])
  })
})

test('a count over a large fleet joins its lists by hash and reads each table once', async () => {
  await rows.query(
    `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, last_synced_at)
     select gen_random_uuid(), 'google', 'bulk-' || n, calstream_now() from generate_series(1, 20000) n`,
  )
  await rows.query(
    `insert into external_calendars (connection_id, vendor_calendar_id, last_read_at)
     select id, 'x', calstream_now() from external_calendar_connections where vendor_account_id like 'bulk-%'`,
  )
  await rows.query('analyze')
  const { rows: listed } = await rows.query<{ id: string }>('select id from external_calendar_connections')
  const admission: Admission = {
    sync: 'on',
    providers: null,
    connections: listed.slice(0, 15_000).map(({ id }) => id),
  }
  const began = performance.now()
  await countCauses(db, admission)
  measured(`causes of ${listed.length} connections counted in ${Math.round(performance.now() - began)} ms`)
  const plans: PlanNode[] = []
  const explaining = {
    query: async (sql: string, values: readonly unknown[]) => {
      const { rows: found } = await rows.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
        `explain (format json) ${sql}`,
        values,
      )
      plans.push(...found.flatMap((row) => row['QUERY PLAN'].map(({ Plan }) => Plan)))
      return { rows: [], rowCount: 0 }
    },
  } as unknown as Database
  await countCauses(explaining, admission)
  const all = {
    cause: 'late',
    vendor: null,
    provider: null,
    sinceBefore: null,
    after: null,
    limit: 10,
  } as const
  await listByCause(explaining, admission, all)
  expect(plans).toHaveLength(2)
  expect(plans.flatMap(repeatedScans)).toEqual([])
})

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Plan Rows': number
  readonly 'Relation Name'?: string
  readonly Plans?: readonly PlanNode[]
}

/** Tables that are read whole once a row of something else. */
function repeatedScans(node: PlanNode): readonly string[] {
  const parts = node.Plans ?? []
  const [outer, inner] = parts
  const isLoop = node['Node Type'] === 'Nested Loop' && (outer?.['Plan Rows'] ?? 0) > 1
  const here = isLoop && inner !== undefined ? wholeTables(inner) : []
  return [...here, ...parts.flatMap(repeatedScans)]
}

function wholeTables(node: PlanNode): readonly string[] {
  const own = node['Node Type'] === 'Seq Scan' ? [node['Relation Name'] ?? ''] : []
  return [...own, ...(node.Plans ?? []).flatMap(wholeTables)]
}
