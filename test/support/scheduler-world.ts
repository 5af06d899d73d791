// A database, topics and schemas of one test's own,
// with the deps of the scheduler's jobs on the scheduler's role.
import { randomBytes, randomUUID } from 'node:crypto'
import { TOPICS } from '#schemas/topics.ts'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { GateDecision, GateName, Gates } from '#shared/domain/gates.ts'
import { type ConnectionId, connectionId, type VendorName } from '#shared/domain/ids.ts'
import type { Producer } from '#shared/kafka/broker.ts'
import { type Clock, systemClock } from '#shared/process/clock.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { openProducer } from '#shared/kafka/open.ts'
import { openDatabase } from '#shared/store/database.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import type { JobDeps } from '../../services/scheduler/deps.ts'
import { channelVendor, type ChannelVendor } from './channel-vendor.ts'
import { freeMailboxes } from './free-mailboxes.ts'
import { openReader, quiet } from './outbox.ts'
import { openRelayWorld, type RelayWorld } from './relay-world.ts'
import { testStack } from './stack.ts'

const NEVER = new AbortController().signal

export interface SchedulerWorld extends Omit<RelayWorld, 'env'>, AsyncDisposable {
  readonly deps: JobDeps
  /** Gates that are closed; all others are open. A test adds to it and takes from it. */
  readonly closed: Set<GateName>
  /** What services/scheduler needs. */
  readonly env: Record<string, string>
  readonly keyring: string
  /** Every doorbell rung so far, in the order of arrival. */
  rung(): Promise<readonly SyncRequested[]>
  /** Moves the database clock and `deps.clock` on. */
  advance(ms: number): Promise<void>
  /** Selected calendars of a connection; returns their ids in the order of the names. */
  addCalendars(connection: ConnectionId, ...names: readonly string[]): Promise<readonly string[]>
  /** `<calendar> <status>` of every channel, sorted. */
  channels(): Promise<readonly string[]>
  /** Connections with these columns, as SQL expressions; in the order given. */
  connect(...columns: readonly Record<string, string>[]): Promise<readonly ConnectionId[]>
}

export async function openSchedulerWorld(
  label: string,
  parts: {
    readonly vendor?: (clock: Clock) => Vendor
    readonly around?: (producer: Producer) => Producer
  } = {},
): Promise<SchedulerWorld> {
  await using opened = new AsyncDisposableStack()
  const { registryUrl, unleash } = testStack()
  const world = opened.use(await openRelayWorld(label))
  const prefix = world.kafka.prefix
  await applySchemas({ registryUrl, prefix }, NEVER)
  const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] as const
  const written = [...topics, TOPICS.connectionChanged] as const
  const codec = await openCodec({ registryUrl, prefix, topics: written }, NEVER)
  const url = world.database.url('calstream_scheduler')
  const db = opened.use(openDatabase({ url: new Secret(url), applicationName: label, poolMax: 4 }, quiet))
  const kafka = { brokers: world.kafka.brokers.split(','), prefix, clientId: label }
  const producer = opened.use(await openProducer(kafka, quiet))
  const bell = opened.use(await openReader(world.kafka, topics))
  const closed = new Set<GateName>()
  let shiftMs = 0
  const clock: Clock = { now: () => systemClock.now() + shiftMs * 1000 }
  const vendor = parts.vendor?.(clock)
  const keyring = `test:${randomBytes(32).toString('base64')}`
  const all = opened.move()
  return {
    ...world,
    closed,
    keyring,
    deps: {
      db,
      codec,
      clock,
      logger: quiet,
      producer: parts.around ? parts.around(producer) : producer,
      gates: gatesOf(closed),
      admission: () => ({ sync: 'on', providers: null, connections: null }),
      mailboxes: freeMailboxes(vendor ? [vendor] : []),
      keys: parseKeyring(new Secret(keyring)),
      credentialKeys: parseKeyring(new Secret(keyring)),
      publicUrl: 'https://calstream.example',
    },
    env: {
      KAFKA_BROKERS: world.kafka.brokers,
      KAFKA_PREFIX: prefix,
      SCHEMA_REGISTRY_URL: registryUrl,
      POSTGRES_URL: url,
      UNLEASH_URL: unleash.url,
      UNLEASH_TOKEN: unleash.tokens.backend,
      CREDENTIALS_KEYS: keyring,
      CHANNEL_TOKEN_KEYS: keyring,
      PUBLIC_URL: 'https://calstream.example',
      GOOGLE_API_URL: 'http://127.0.0.1:9',
      GOOGLE_TOKEN_URL: 'http://127.0.0.1:9/token',
      GOOGLE_CLIENT_ID: 'test',
      GOOGLE_CLIENT_SECRET: 'test-secret',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
    },
    rung: () =>
      Promise.all(
        bell.records.map(async (record) => {
          const decoded = await codec.decode(record.topic as typeof TOPICS.requestedGoogle, record.value)
          if (decoded.kind !== 'message') throw new Error(decoded.problem)
          return decoded.message
        }),
      ),
    async advance(ms) {
      shiftMs += ms
      await world.db.query(
        `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
           as $$ select clock_timestamp() + interval '${shiftMs} milliseconds' $$`,
      )
    },
    async addCalendars(connection, ...names) {
      const { rows } = await world.db.query<{ id: string }>(
        `insert into external_calendars (connection_id, vendor_calendar_id)
         select $1, name from unnest($2::text[]) with ordinality as n (name, place) order by place returning id`,
        [connection, names],
      )
      return rows.map((row) => row.id)
    },
    async channels() {
      const { rows } = await world.db.query<{ line: string }>(
        `select vendor_calendar_id || ' ' || channels.status as line from channels
         join external_calendars on external_calendars.id = calendar_id`,
      )
      return rows.map((row) => row.line).toSorted()
    },
    async connect(...columns) {
      const ids: ConnectionId[] = []
      for (const given of columns) {
        const id = randomUUID()
        const row = {
          id: `'${id}'`,
          provider_id: `'${randomUUID()}'`,
          vendor: `'google'`,
          vendor_account_id: `'${id}'`,
          ...given,
        }
        await world.db.query(
          `insert into external_calendar_connections (${Object.keys(row).join()}) values (${Object.values(row).join()})`,
        )
        ids.push(connectionId(id))
      }
      return ids
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

export type ChannelWorldParts = Omit<NonNullable<Parameters<typeof openSchedulerWorld>[1]>, 'vendor'>

/** A scheduler's world together with the obedient vendor at its edge. */
export async function openChannelWorld(
  name: VendorName,
  label: string,
  parts: ChannelWorldParts = {},
): Promise<[SchedulerWorld, ChannelVendor]> {
  let vendor: ChannelVendor | undefined
  const world = await openSchedulerWorld(label, {
    ...parts,
    vendor: (clock) => (vendor = channelVendor(name, clock)),
  })
  return [world, vendor!]
}

function gatesOf(closed: ReadonlySet<GateName>): Gates {
  const ask = (gate: GateName): GateDecision =>
    closed.has(gate) ? { state: 'off', gate, text: 'Calendar sync not enabled' } : { state: 'on' }
  return {
    sync: () => ask('CALENDAR_SYNC_ENABLED'),
    jobs: () => ask('CALENDAR_JOBS_ENABLED'),
    webhook: () => ask('CALENDAR_WEBHOOK_ENABLED'),
    oauth: () => ask('CALENDAR_OAUTH_ENABLED'),
  }
}

/** A producer that fails as a broker that is away does, while `isDown` says so. */
export function downWhile(isDown: () => boolean): (producer: Producer) => Producer {
  return (producer) => ({
    async send(records) {
      if (isDown()) throw new Failure('kafka/unavailable')
      await producer.send(records)
    },
    [Symbol.asyncDispose]: () => producer[Symbol.asyncDispose](),
  })
}
