// The scheduler's jobs on a real database and broker: what they ring, what they leave alone, and
// that two of them do it once.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { markReconciled } from '#shared/store/due.ts'
import { holdRequests } from '#shared/store/held-requests.ts'
import { claimJob, releaseJob } from '#shared/store/leases.ts'
import { loadConfig } from '../../../services/scheduler/config.ts'
import { reconcile } from '../../../services/scheduler/ringing/reconcile.ts'
import { forgetOld } from '../../../services/scheduler/retention.ts'
import { createRingRefused } from '../../../services/scheduler/ringing/ring-refused.ts'
import { startScheduler } from '../../../services/scheduler/service.ts'
import { sweep } from '../../../services/scheduler/ringing/sweep.ts'
import { eventually } from '../../support/eventually.ts'
import { quiet } from '../../support/outbox.ts'
import { openSchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal

describe('the sweep', () => {
  test('rings exactly the active, dirty connections that are more than 30 s overdue and were not rung for 60 s', async () => {
    await using world = await openSchedulerWorld('sweep')
    const ago = (seconds: number) => `calstream_now() - interval '${seconds} seconds'`
    const table: readonly (readonly [string, boolean, Record<string, string>])[] = [
      ['no backoff, written long ago', true, { sync_needed: 'true', updated_at: ago(35) }],
      ['no backoff, written just now', false, { sync_needed: 'true', updated_at: ago(25) }],
      ['backoff over for 35 s', true, { sync_needed: 'true', backoff_until: ago(35) }],
      ['backoff over for 25 s', false, { sync_needed: 'true', backoff_until: ago(25), updated_at: ago(900) }],
      ['backoff to come', false, { sync_needed: 'true', backoff_until: ago(-600), updated_at: ago(900) }],
      ['clean', false, { sync_needed: 'false', updated_at: ago(900) }],
      ['rung 50 s ago', false, { sync_needed: 'true', updated_at: ago(900), rung_at: ago(50) }],
      ['rung 70 s ago', true, { sync_needed: 'true', updated_at: ago(900), rung_at: ago(70) }],
      ['needs reauth', false, { sync_needed: 'true', updated_at: ago(900), status: `'needs_reauth'` }],
      ['disabled', false, { sync_needed: 'true', updated_at: ago(900), status: `'disabled'` }],
      ['microsoft', true, { sync_needed: 'true', updated_at: ago(900), vendor: `'microsoft'` }],
    ]
    const ids = await world.connect(...table.map(([, , columns]) => columns))
    const expected = table.filter(([, rings]) => rings).map(([name]) => name)
    expect(await sweep(world.deps, NEVER)).toBe(expected.length)
    await eventually('they are rung', async () => (await world.rung()).length >= expected.length)
    const rung = await world.rung()
    const names = table
      .filter((_row, index) => rung.some((ring) => ring.connectionId === ids[index]))
      .map(([name]) => name)
    expect(names).toEqual(expected)
    // No listing but a later one answers them.
    expect(new Set(rung.map(({ reason, asOf }) => `${reason} ${asOf}`))).toEqual(new Set(['sweep null']))
    // At once again: every one of them was rung less than 60 s ago.
    expect(await sweep(world.deps, NEVER)).toBe(0)
  })

  test('rings exactly the calendars that owe a read by themselves and are due for 30 s, each by its name', async () => {
    await using world = await openSchedulerWorld('sweep calendars')
    const ago = (seconds: number) => `calstream_now() - interval '${seconds} seconds'`
    const old = { updated_at: ago(900), read_needed: 'true' }
    const rest = { resync_after: ago(-600), cursor: 'null' }
    const table: readonly (readonly [string, boolean, Record<string, string>])[] = [
      ['no backoff, written long ago', true, old],
      ['no backoff, written just now', false, { ...old, updated_at: ago(25) }],
      ['backoff over for 35 s', true, { ...old, backoff_until: ago(35) }],
      ['backoff over for 25 s', false, { ...old, backoff_until: ago(25) }],
      ['backoff to come', false, { ...old, backoff_until: ago(-600) }],
      ['owes nothing', false, { ...old, read_needed: 'false' }],
      ['rung 50 s ago', false, { ...old, rung_at: ago(50) }],
      ['rung 70 s ago', true, { ...old, rung_at: ago(70) }],
      ['not selected', false, { ...old, selected: 'false' }],
      ['rests before its full read', false, { ...old, ...rest }],
      ['has rested', true, { ...old, ...rest, resync_after: ago(40) }],
      ['rests, and can read changes', true, { ...old, resync_after: ago(-600), cursor: `'c'` }],
      ['rests before its second look', false, { ...old, ...rest, cursor: `'c'`, sweep_below: '2' }],
    ]
    const [well, dirty, parked] = await world.connect(
      {},
      { sync_needed: 'true', backoff_until: ago(-600) },
      { status: `'needs_reauth'` },
    )
    const ids = await world.addCalendars(well!, ...table.map(([name]) => name))
    for (const [index, [, , columns]] of table.entries()) {
      const changes = Object.entries(columns).map(([column, value]) => `${column} = ${value}`)
      await world.db.query(`update external_calendars set ${changes.join()} where id = $1`, [ids[index]])
    }
    // Their connection is rung as a whole, or not at all.
    for (const id of [dirty, parked]) await world.addCalendars(id!, 'owed too')
    await world.db.query(
      `update external_calendars set read_needed = true, updated_at = ${ago(900)} where connection_id = any($1::uuid[])`,
      [[dirty, parked]],
    )
    const expected = table.filter(([, rings]) => rings).map(([name]) => name)
    expect(await sweep(world.deps, NEVER)).toBe(expected.length)
    await eventually('they are rung', async () => (await world.rung()).length >= expected.length)
    const rung = await world.rung()
    const names = table
      .filter((_row, index) => rung.some((ring) => ring.calendarId === ids[index]))
      .map(([name]) => name)
    expect(names).toEqual(expected)
    expect(await sweep(world.deps, NEVER)).toBe(0)
  })

  test('leaves what is behind a closed gate overdue, and rings it once the gate is open', async () => {
    await using world = await openSchedulerWorld('sweep gate')
    await world.connect({ sync_needed: 'true', updated_at: `calstream_now() - interval '1 hour'` })
    for (const gate of ['CALENDAR_JOBS_ENABLED', 'CALENDAR_SYNC_ENABLED'] as const) {
      world.closed.add(gate)
      expect(await sweep(world.deps, NEVER)).toBe(0)
      world.closed.delete(gate)
    }
    expect(await sweep(world.deps, NEVER)).toBe(1)
  })

  test('does not wait for a connection that a unit holds locked: it is rung, and again at the next sweep', async () => {
    await using world = await openSchedulerWorld('sweep locked')
    const overdue = { sync_needed: 'true', updated_at: `calstream_now() - interval '1 hour'` }
    const [locked] = await world.connect(overdue, overdue)
    await world.db.query('begin')
    await world.db.query('select from external_calendar_connections where id = $1 for update', [locked])
    expect(await sweep(world.deps, NEVER)).toBe(2)
    await world.db.query('commit')
    expect(await sweep(world.deps, NEVER)).toBe(1)
  })
})

describe('held requests', () => {
  test('are deleted at the seq that was rung: a refusal in between survives and is rung again', async () => {
    let between: () => Promise<void> = async () => undefined
    await using world = await openSchedulerWorld('held seq', {
      around: (producer) => ({
        async send(records) {
          await producer.send(records)
          await between()
        },
        [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
      }),
    })
    const [refused, other] = await world.connect({}, {})
    const hold = (...ids: string[]) =>
      world.db.query(
        `insert into held_requests (connection_id, gate) select unnest($1::uuid[]), 'CALENDAR_SYNC_ENABLED'
         on conflict (connection_id) do update set seq = excluded.seq`,
        [ids],
      )
    await hold(refused!, other!)
    between = async () => {
      between = async () => undefined
      await hold(refused!)
    }
    const ringRefused = createRingRefused(world.deps)
    expect(await ringRefused(NEVER)).toBe(2)
    const { rows } = await world.db.query('select connection_id from held_requests')
    expect(rows).toEqual([{ connection_id: refused }])
    expect(await ringRefused(NEVER)).toBe(1)
    expect((await world.db.query('select from held_requests')).rowCount).toBe(0)
    await eventually('three rings', async () => (await world.rung()).length === 3)
  })

  test('are rung only when all their gates are open, with the time they were read as asOf', async () => {
    await using world = await openSchedulerWorld('held gates')
    const [byWebhook, bySync] = await world.connect({}, {})
    await holdRequests(
      { query: async (text, values) => world.db.query(text, values as unknown[]) as never },
      [
        { connectionId: byWebhook!, gate: 'CALENDAR_WEBHOOK_ENABLED' },
        { connectionId: bySync!, gate: 'CALENDAR_SYNC_ENABLED' },
      ],
    )
    const { rows } = await world.db.query<{ micros: string }>('select to_micros(calstream_now()) as micros')
    const ringRefused = createRingRefused(world.deps)
    world.closed.add('CALENDAR_JOBS_ENABLED')
    expect(await ringRefused(NEVER)).toBe(0)
    world.closed.clear()
    world.closed.add('CALENDAR_SYNC_ENABLED')
    expect(await ringRefused(NEVER)).toBe(0)
    world.closed.clear()
    world.closed.add('CALENDAR_WEBHOOK_ENABLED')
    expect(await ringRefused(NEVER)).toBe(1)
    world.closed.clear()
    expect(await ringRefused(NEVER)).toBe(1)
    await eventually('both are rung', async () => (await world.rung()).length === 2)
    const rung = await world.rung()
    expect(rung.map((ring) => ring.connectionId)).toEqual([bySync, byWebhook])
    for (const ring of rung) {
      expect(ring).toMatchObject({ reason: 'held', calendarId: null, deliveryKey: null })
      expect(ring.asOf).toBeGreaterThanOrEqual(Number(rows[0]!.micros))
    }
  })

  test('of 10 000 connections are rung at no more than 200 a second, and all of them within 50 s', async () => {
    await using world = await openSchedulerWorld('held many')
    await world.db.query(`
      with made as (
        insert into external_calendar_connections (provider_id, vendor, vendor_account_id)
        select gen_random_uuid(), 'google', n::text from generate_series(1, 10000) n returning id)
      insert into held_requests (connection_id, gate) select id, 'CALENDAR_SYNC_ENABLED' from made`)
    const left = async () => Number((await world.db.query('select from held_requests')).rowCount)
    const ringRefused = createRingRefused(world.deps)
    const runs: number[] = []
    for (let rung = await ringRefused(NEVER); rung > 0; rung = await ringRefused(NEVER)) {
      runs.push(rung)
      expect(await left()).toBe(10_000 - runs.reduce((sum, one) => sum + one, 0))
    }
    // A run every 2 s: the rate that docs/architecture.md states,
    // and the time that follows from it.
    expect(Math.max(...runs)).toBeLessThanOrEqual(400)
    expect(runs.length).toBe(25)
    expect(await left()).toBe(0)
    await eventually('all are rung', async () => (await world.rung()).length >= 10_000)
    const rung = await world.rung()
    expect(new Set(rung.map(({ connectionId }) => connectionId)).size).toBe(10_000)
    expect(rung.length).toBe(10_000)
  })

  test('of a hundred connections are rung in one run, as few as they are', async () => {
    await using world = await openSchedulerWorld('held few')
    await world.db.query(`
      with made as (
        insert into external_calendar_connections (provider_id, vendor, vendor_account_id)
        select gen_random_uuid(), 'google', n::text from generate_series(1, 100) n returning id)
      insert into held_requests (connection_id, gate) select id, 'CALENDAR_SYNC_ENABLED' from made`)
    expect(await createRingRefused(world.deps)(NEVER)).toBe(100)
  })
})

describe('the reconcile', () => {
  test('rings what is due with the time it was read as asOf, and sets the next time', async () => {
    await using world = await openSchedulerWorld('reconcile')
    const [due] = await world.connect(
      { reconcile_at: `calstream_now() - interval '1 second'` },
      { reconcile_at: `calstream_now() + interval '1 minute'` },
      { reconcile_at: `calstream_now() - interval '1 hour'`, status: `'needs_reauth'` },
    )
    world.closed.add('CALENDAR_JOBS_ENABLED')
    expect(await reconcile(world.deps, NEVER)).toBe(0)
    world.closed.clear()
    expect(await reconcile(world.deps, NEVER)).toBe(1)
    expect(await reconcile(world.deps, NEVER)).toBe(0)
    await eventually('it is rung', async () => (await world.rung()).length === 1)
    const [ring] = await world.rung()
    expect(ring).toMatchObject({ connectionId: due, reason: 'reconcile', calendarId: null })
    expect(ring!.asOf).not.toBeNull()
  })

  test('spreads the next times over ± 20 % of 15 min', async () => {
    await using world = await openSchedulerWorld('reconcile spread')
    const ids = await world.connect(...Array.from({ length: 100 }, () => ({})))
    await markReconciled(world.deps.db, ids, 900)
    const { rows } = await world.db.query<{ seconds: number }>(
      `select extract(epoch from reconcile_at - calstream_now())::float8 as seconds from external_calendar_connections`,
    )
    const seconds = rows.map((row) => row.seconds)
    expect(Math.min(...seconds)).toBeGreaterThan(0.75 * 900)
    expect(Math.max(...seconds)).toBeLessThanOrEqual(1.2 * 900)
    expect(Math.max(...seconds) - Math.min(...seconds)).toBeGreaterThan(0.2 * 900)
  })
})

describe('several schedulers', () => {
  test('a job belongs to one owner at a time, at its beat, and goes to another when the lease ends or is given back', async () => {
    await using world = await openSchedulerWorld('leases')
    const { db } = world.deps
    const claim = (owner: string, everyMs = 3_600_000) =>
      claimJob(db, { job: 'j', owner, leaseMs: 60_000, everyMs })
    expect(await Promise.all([claim('a'), claim('b')]).then((both) => both.toSorted())).toEqual([
      'other',
      'run',
    ])
    const { rows } = await world.db.query<{ owner: string }>('select owner from job_leases')
    const [holder, other] = rows[0]!.owner === 'a' ? ['a', 'b'] : ['b', 'a']
    expect(await claim(holder)).toBe('wait')
    expect(await claim(holder, 0)).toBe('run')
    expect(await claim(other)).toBe('other')
    await world.db.query(`update job_leases set leased_until = '-infinity'`)
    // The beat goes on: the other holds it now, but it ran a moment ago.
    expect(await claim(other)).toBe('wait')
    expect(await claim(holder)).toBe('other')
    await releaseJob(db, 'j', other, false)
    expect(await claim(holder)).toBe('run')
    const epoch = await world.db.query<{ epoch: string }>('select epoch from job_leases')
    expect(Number(epoch.rows[0]!.epoch)).toBe(3)
  })

  test('ring each held connection once', async () => {
    await using world = await openSchedulerWorld('two schedulers')
    const ids = await world.connect(
      ...Array.from({ length: 60 }, () => ({ reconcile_at: `calstream_now() + interval '1 hour'` })),
    )
    const config = loadConfig(world.env)
    const overrides = { gates: world.deps.gates }
    await using _one = await startScheduler(config, NEVER, overrides)
    await using _two = await startScheduler(config, NEVER, overrides)
    await world.db.query(
      `insert into held_requests (connection_id, gate) select unnest($1::uuid[]), 'CALENDAR_SYNC_ENABLED'`,
      [ids],
    )
    await eventually(
      'nothing is held',
      async () => (await world.db.query('select from held_requests')).rowCount === 0,
    )
    await eventually('all are rung', async () => (await world.rung()).length >= ids.length)
    expect((await world.rung()).map((ring) => ring.connectionId).toSorted()).toEqual(ids.toSorted())
  })
})

test('old delivery keys and index entries are forgotten, young ones kept', async () => {
  await using world = await openSchedulerWorld('retention')
  const [id] = await world.connect({})
  await world.db.query(
    `insert into webhook_dedupe_keys (connection_id, delivery_key, seen_at)
     select $1, n::text, calstream_now() - n * interval '1 day' from generate_series(6, 10) n`,
    [id],
  )
  await world.db.query(
    `insert into dead_letters (partition, topic_offset, code, attempts, last_failed_at, origin_topic)
     select 0, n, 'x', 1, calstream_now() - n * interval '1 day', 't' from generate_series(28, 32) n`,
  )
  expect(await forgetOld(world.deps.db, NEVER)).toBe(6)
  const keys = await world.db.query<{ delivery_key: string }>(
    'select delivery_key from webhook_dedupe_keys order by 1',
  )
  expect(keys.rows.map((row) => row.delivery_key)).toEqual(['6', '7'])
  const letters = await world.db.query<{ topic_offset: string }>(
    'select topic_offset from dead_letters order by 1',
  )
  expect(letters.rows.map((row) => Number(row.topic_offset))).toEqual([28, 29])
})

test('dead letters are found in the index, also those without usable headers', async () => {
  await using world = await openSchedulerWorld('dead letters')
  await using _scheduler = await startScheduler(loadConfig(world.env), NEVER, { gates: world.deps.gates })
  const id = randomUUID()
  const kafka = { brokers: world.kafka.brokers.split(','), prefix: world.kafka.prefix, clientId: 'test' }
  await using producer = await openProducer(kafka, quiet)
  await producer.send([
    {
      topic: TOPICS.deadLetter,
      key: id,
      value: Buffer.from('x'),
      headers: {
        'dead-letter-topic': TOPICS.requestedGoogle,
        'dead-letter-partition': '3',
        'dead-letter-offset': '77',
        'dead-letter-code': 'message/unreadable',
        'dead-letter-attempts': '2',
        'dead-letter-last-failed-at': '1790000000000000',
      },
    },
    { topic: TOPICS.deadLetter, key: 'who knows', value: null, headers: { 'dead-letter-offset': 'soon' } },
  ])
  const rows = await eventually('both are in the index', async () => {
    const found = await world.db.query('select * from dead_letters order by origin_topic')
    return found.rowCount === 2 ? found.rows : null
  })
  expect(rows[0]).toMatchObject({
    connection_id: id,
    vendor: 'google',
    code: 'message/unreadable',
    attempts: 2,
    origin_topic: TOPICS.requestedGoogle,
    origin_partition: 3,
    origin_offset: '77',
  })
  expect(rows[1]).toMatchObject({
    connection_id: null,
    code: 'unknown',
    origin_topic: 'unknown',
    origin_offset: null,
  })
})
