// The relay on a real broker and database: what it publishes when it is killed, frozen, joined by
// another, refused, or cut off.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { TransactionalProducer } from '#shared/kafka/broker.ts'
import { Secret } from '#shared/process/secret.ts'
import { openTransactionalProducer } from '#shared/kafka/open.ts'
import { openDatabase } from '#shared/store/database.ts'
import { takeShards, type ShardLease } from '#shared/store/relay.ts'
import {
  closeShard,
  drainShard,
  ownedShard,
  openShard,
  type RelayDeps,
} from '../../../services/relay/relay.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import {
  ceId,
  changeOf,
  connections,
  firstSequences,
  openReader,
  outboxCount,
  putOutbox,
  quiet,
  startServiceProcess,
} from '../../support/outbox.ts'
import { openRelayWorld, type RelayWorld } from '../../support/relay-world.ts'
import { testStack } from '../../support/stack.ts'

const EVENTS = [TOPICS.eventChanged, TOPICS.eventState]
const NEVER = new AbortController().signal

/** The deps of a relay inside this process, on the role of the real one. */
function relayIn(
  world: RelayWorld,
  owner: string,
  around: (producer: TransactionalProducer) => TransactionalProducer = (p) => p,
) {
  const db = openDatabase(
    { url: new Secret(world.database.url('calstream_relay')), applicationName: owner, poolMax: 2 },
    quiet,
  )
  const kafka = { brokers: world.kafka.brokers.split(','), prefix: world.kafka.prefix, clientId: owner }
  const deps: RelayDeps = {
    progress: { lastAt: null },
    db,
    owner,
    logger: quiet,
    openProducer: async (shard) =>
      around(
        await openTransactionalProducer(
          { ...kafka, transactionalId: `relay-${shard}`, timeoutMs: 15_000 },
          quiet,
        ),
      ),
  }
  return { deps, db, [Symbol.asyncDispose]: () => db[Symbol.asyncDispose]() }
}

/** Takes the lease of every shard, whoever holds it, as when it ran out. */
async function takeAll(world: RelayWorld, deps: RelayDeps): Promise<readonly ShardLease[]> {
  await world.db.query(`update relay_shards set leased_until = '-infinity'`)
  return takeShards(deps.db, deps.owner, 16, 60_000)
}

async function owners(db: pg.Client): Promise<Map<string, number>> {
  const { rows } = await db.query<{ owner: string; count: string }>(
    `select owner, count(*) from relay_shards where owner is not null and leased_until > clock_timestamp() group by owner`,
  )
  return new Map(rows.map((row) => [row.owner, Number(row.count)]))
}

describe('a relay that is killed between publish and delete', () => {
  test('repeats the same ids and bytes, loses nothing, and keeps first occurrences in order', async () => {
    await using world = await openRelayWorld('relay kill')
    // Every DELETE waits for a lock that the test holds,
    // so the kill falls exactly between publish and delete.
    await world.db.query(`
      create function wait_for_test() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
      create trigger outbox_delete_waits before delete on outbox for each statement execute function wait_for_test();
      select pg_advisory_lock(42)`)
    const ids = connections(20)
    const first = [1, 2, 3].flatMap((sequence) => ids.flatMap((id) => changeOf(id, sequence)))
    await putOutbox(world.db, first)
    await using reader = await openReader(world.kafka, EVENTS)
    await using killed = await startServiceProcess('relay', `relay-kill-a-${world.kafka.prefix}`, world.env)
    await eventually('everything is published', () => reader.records.length >= first.length)
    expect(await outboxCount(world.db)).toBe(first.length)
    await killed.kill()
    // Its sessions at the server would carry out the DELETE that they were sent,
    // as after a real kill a moment later.
    await world.db.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'calstream-relay'`,
    )
    await world.db.query('select pg_advisory_unlock(42)')

    const second = ids.flatMap((id) => changeOf(id, 4))
    await putOutbox(world.db, second)
    const started = performance.now()
    await using _next = await startServiceProcess('relay', `relay-kill-b-${world.kafka.prefix}`, world.env)
    await eventually('the successor has emptied the outbox', async () => (await outboxCount(world.db)) === 0)
    measured(`successor emptied the outbox ${Math.round(performance.now() - started)} ms after its start`)
    await eventually('all are read', () => reader.records.length >= 2 * first.length + second.length)

    const times = Map.groupBy(reader.records, ceId)
    expect(times.size).toBe(first.length + second.length)
    for (const put of first) {
      const same = times.get(put.headers['ce_id']!)!
      expect(same.length).toBe(2)
      for (const record of same) expect(record.value?.equals(put.value!)).toBe(true)
    }
    for (const put of second) expect(times.get(put.headers['ce_id']!)?.length).toBe(1)
    for (const id of ids) {
      expect(firstSequences(reader.of(TOPICS.eventChanged), id)).toEqual([1, 2, 3, 4])
      expect(firstSequences(reader.of(TOPICS.eventState), id)).toEqual([1, 2, 3, 4])
    }
  })
})

describe('a relay that freezes between reading and publishing', () => {
  const [connection] = connections(1)

  /** Reads version 1 and stops before it publishes; `wake` lets it go on. */
  async function freeze(world: RelayWorld) {
    const reading = Promise.withResolvers<void>()
    const waking = Promise.withResolvers<void>()
    const relay = relayIn(world, 'frozen', (producer) => ({
      async publish(records) {
        reading.resolve()
        await waking.promise
        await producer.publish(records)
      },
      [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
    }))
    const lease = (await takeAll(world, relay.deps)).find(({ shard }) => shard === 0)!
    await putOutbox(world.db, changeOf(connection!, 1))
    const drained = drainShard(relay.deps, ownedShard(lease), NEVER)
    await reading.promise
    return {
      drained,
      wake: () => waking.resolve(),
      [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose](),
    }
  }

  test('publishes nothing after its shard was taken over: the broker refuses it', async () => {
    await using world = await openRelayWorld('relay frozen')
    await using reader = await openReader(world.kafka, EVENTS)
    await using frozen = await freeze(world)
    await using successor = relayIn(world, 'successor')
    const lease = (await takeAll(world, successor.deps)).find(({ shard }) => shard === 0)!
    const shard = ownedShard(lease)
    expect(await drainShard(successor.deps, shard, NEVER)).toBe('drained')
    await putOutbox(world.db, changeOf(connection!, 2))
    expect(await drainShard(successor.deps, shard, NEVER)).toBe('drained')

    frozen.wake()
    expect(await frozen.drained).toBe('lost')
    await putOutbox(world.db, changeOf(connection!, 3))
    expect(await drainShard(successor.deps, shard, NEVER)).toBe('drained')
    await closeShard(shard)
    await eventually('version 3 is read', () => reader.records.length >= 6)
    // The last record of the state topic is what compaction keeps for ever: it must be the newest.
    const sequences = (topic: string) =>
      reader.of(topic).map((record) => Number(record.headers.get('ce_sequence')))
    expect(sequences(TOPICS.eventChanged)).toEqual([1, 2, 3])
    expect(sequences(TOPICS.eventState)).toEqual([1, 2, 3])
  })

  test('control: without a successor the same relay wakes and publishes', async () => {
    await using world = await openRelayWorld('relay frozen control')
    await using reader = await openReader(world.kafka, EVENTS)
    await using frozen = await freeze(world)
    frozen.wake()
    expect(await frozen.drained).toBe('drained')
    await eventually('version 1 is read', () => reader.records.length === 2)
    expect(await outboxCount(world.db)).toBe(0)
  })

  test('does not fence its successor when it reopens its producer after losing the lease', async () => {
    await using world = await openRelayWorld('relay reopen')
    await using late = relayIn(world, 'late')
    const lost = ownedShard((await takeAll(world, late.deps)).find(({ shard }) => shard === 0)!)
    await using successor = relayIn(world, 'successor')
    const owned = ownedShard((await takeAll(world, successor.deps)).find(({ shard }) => shard === 0)!)
    expect(await openShard(successor.deps, owned)).toBe(true)
    await putOutbox(world.db, changeOf(connection!, 1))
    expect(await openShard(late.deps, lost)).toBe(false)
    expect(await drainShard(late.deps, lost, NEVER)).toBe('lost')
    expect(await drainShard(successor.deps, owned, NEVER)).toBe('drained')
    await closeShard(owned)
  })
})

test('a record that Kafka refuses goes to the dead-letter topic, and its shard goes on', async () => {
  await using world = await openRelayWorld('relay refused')
  await using reader = await openReader(world.kafka, [...EVENTS, TOPICS.deadLetter])
  await using relay = relayIn(world, 'relay')
  const [id] = connections(1)
  const huge = changeOf(id!, 2, 1_500_000)[0]
  const rows = [...changeOf(id!, 1), huge, ...[3, 4, 5, 6, 7].flatMap((sequence) => changeOf(id!, sequence))]
  await putOutbox(world.db, rows)
  const shard = ownedShard((await takeAll(world, relay.deps)).find((lease) => lease.shard === 0)!)
  await eventually('the outbox is empty', async () => {
    await drainShard(relay.deps, shard, NEVER)
    return (await outboxCount(world.db)) === 0
  })
  await closeShard(shard)
  await eventually('all are read', () => reader.records.length >= rows.length)
  expect(firstSequences(reader.of(TOPICS.eventChanged), id!)).toEqual([1, 3, 4, 5, 6, 7])
  const [letter, ...more] = reader.of(TOPICS.deadLetter)
  expect(more).toEqual([])
  expect(letter!.key?.toString()).toBe(id)
  expect(letter!.headers.get('dead-letter-code')).toBe('kafka/rejected')
  expect(letter!.headers.get('dead-letter-topic')).toBe(TOPICS.eventChanged)
})

test('an unknown outcome of a publication is repeated with the same ids and bytes by a new producer', async () => {
  await using world = await openRelayWorld('relay unknown')
  await using reader = await openReader(world.kafka, EVENTS)
  let breaks = 1
  await using relay = relayIn(world, 'relay', (producer) => ({
    async publish(records) {
      await producer.publish(records)
      if (breaks-- > 0) throw new Failure('kafka/unavailable', 'the answer was lost')
    },
    [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
  }))
  const [id] = connections(1)
  await putOutbox(
    world.db,
    [1, 2].flatMap((sequence) => changeOf(id!, sequence)),
  )
  const shard = ownedShard((await takeAll(world, relay.deps)).find((lease) => lease.shard === 0)!)
  await expect(drainShard(relay.deps, shard, NEVER)).rejects.toMatchObject({ code: 'kafka/unavailable' })
  expect(shard.producer).toBeNull()
  expect(await drainShard(relay.deps, shard, NEVER)).toBe('drained')
  await closeShard(shard)
  await eventually('all are read twice', () => reader.records.length === 8)
  const times = Map.groupBy(reader.records, ceId)
  expect([...times.values()].map((same) => same.length)).toEqual([2, 2, 2, 2])
  for (const [a, b] of times.values()) expect(a!.value?.equals(b!.value!)).toBe(true)
})

describe('two relays', () => {
  test('share the shards; when one is killed the other takes the rest within the lease and nothing is lost', async () => {
    await using world = await openRelayWorld('relay two')
    await using reader = await openReader(world.kafka, EVENTS)
    const name = randomUUID().slice(0, 8)
    await using a = await startServiceProcess('relay', `relay-a-${name}`, world.env)
    await eventually(
      'the first holds everything',
      async () => [...(await owners(world.db)).values()].join() === '16',
    )
    await using b = await startServiceProcess('relay', `relay-b-${name}`, world.env)
    await eventually('they share', async () => [...(await owners(world.db)).values()].join() === '8,8')

    const ids = connections(64)
    let sequence = 0
    const load = async (rounds: number) => {
      for (let round = 0; round < rounds; round++) {
        sequence += 1
        await putOutbox(
          world.db,
          ids.flatMap((id) => changeOf(id, sequence)),
        )
      }
    }
    await load(10)
    await b.kill()
    const killed = performance.now()
    await load(10)
    await eventually(
      'the survivor holds everything',
      async () => [...(await owners(world.db)).values()].join() === '16',
    )
    measured(
      `shards of a killed relay were taken over ${Math.round(performance.now() - killed)} ms after the kill`,
    )
    await eventually('the outbox is empty', async () => (await outboxCount(world.db)) === 0)
    const rows = 2 * ids.length * sequence
    await eventually('all are read', () => new Set(reader.records.map(ceId)).size === rows)
    const inOrder = Array.from({ length: sequence }, (_, index) => index + 1)
    for (const id of ids) {
      expect(firstSequences(reader.of(TOPICS.eventChanged), id)).toEqual(inOrder)
      expect(firstSequences(reader.of(TOPICS.eventState), id)).toEqual(inOrder)
    }
    await a.stop()
    expect([...(await owners(world.db)).keys()]).toEqual([])
  })

  test('one that is frozen beyond its lease and wakes under load leaves the newest version last in the state topic', async () => {
    await using world = await openRelayWorld('relay thaw')
    await using reader = await openReader(world.kafka, EVENTS)
    const label = `relay-frozen-${randomUUID().slice(0, 8)}`
    await using a = await startServiceProcess('relay', label, world.env)
    await eventually(
      'it holds everything',
      async () => [...(await owners(world.db)).values()].join() === '16',
    )
    const ids = connections(64)
    let sequence = 0
    const load = async () => {
      sequence += 1
      await putOutbox(
        world.db,
        ids.flatMap((id) => changeOf(id, sequence)),
      )
    }
    // It is frozen while it has work in its hands.
    for (let round = 0; round < 20; round++) await load()
    await eventually('it publishes', () => reader.records.length > 0)
    a.signal('SIGSTOP')
    await using _b = await startServiceProcess('relay', `${label}-b`, world.env)
    await eventually('its shards are taken', async () => {
      const all = await owners(world.db)
      return all.size === 1 && [...all.values()].join() === '16' && (await outboxCount(world.db)) === 0
    })
    for (let round = 0; round < 5; round++) await load()
    a.signal('SIGCONT')
    for (let round = 0; round < 5; round++) await load()
    const rows = 2 * ids.length * sequence
    await eventually('all are read', () => new Set(reader.records.map(ceId)).size === rows)
    await eventually('they share', async () => [...(await owners(world.db)).values()].join() === '8,8')
    const log = readFileSync(path.join(testStack().folder, 'logs', `${label}.log`), 'utf8')
    measured(
      `the frozen relay dropped ${log.split('a newer owner works on this shard').length - 1} shards when it woke`,
    )
    for (const id of ids) {
      const states = reader.of(TOPICS.eventState).filter((record) => record.key?.toString().startsWith(id))
      expect(Number(states.at(-1)!.headers.get('ce_sequence'))).toBe(sequence)
      const inOrder = Array.from({ length: sequence }, (_, index) => index + 1)
      expect(firstSequences(reader.of(TOPICS.eventChanged), id)).toEqual(inOrder)
    }
  })
})
