// What the demo looks through: the play vendor's hand, Postgres, and a reader of both topics that
// is opened again when it fails.
import { TOPICS } from '#schemas/topics.ts'
import type { CheckDeps } from './check.ts'
import { type StoredConnection, openStoredEvents } from '../oracle/rows.ts'
import type { AdminAddress } from '#shared/gates/seed-toggles.ts'
import type { Invocation } from '../stack/prepare.ts'
import { readerAccess } from '../stack/secured.ts'
import type { StackEnv } from '../stack/services.ts'
import { simulatorAdmin, type DemoAccount, type SimulatorAdmin } from '../oracle/simulator-admin.ts'
import { openStreamReader, type StreamReader, type StreamReaderOptions } from '../oracle/stream-reader.ts'

export interface DemoStack {
  readonly env: StackEnv
  readonly unleash: AdminAddress
  /** Runs `calstream <args>` on this stack; returns its output. */
  readonly calstream: (invocation: Invocation, signal: AbortSignal) => Promise<string>
  /** Processes by name, as they are now. */
  readonly pids: () => Readonly<Record<string, number>>
  /** Spent on fetching packages and Java parts in this start. */
  readonly downloadMs: number
  readonly readyMs: number
  /** A line for the person in front of it. */
  readonly say: (line: string) => void
}

export interface Setting extends AsyncDisposable {
  readonly simulator: SimulatorAdmin
  readonly check: CheckDeps
  /**
   * Opens the reader of the topics again, from the same place,
   * when it has failed; does nothing otherwise.
   */
  mend(): Promise<void>
}

/** The accounts that one look is about. */
export interface Looking {
  readonly setting: Setting
  readonly accounts: readonly DemoAccount[]
  readonly emails: ReadonlySet<string>
}

/** Opens everything; throws when Postgres or Kafka does not answer. */
export async function openSetting(
  { env }: DemoStack,
  signal: AbortSignal,
  reading: Pick<StreamReaderOptions, 'from' | 'keepMax'> = {},
): Promise<Setting> {
  await using owned = new AsyncDisposableStack()
  const value = (name: string): string => env[name] ?? ''
  const stored = owned.use(await openStoredEvents(value('POSTGRES_URL')))
  const prefix = value('KAFKA_PREFIX')
  const topics = { changed: prefix + TOPICS.eventChanged, state: prefix + TOPICS.eventState }
  const access = readerAccess(env)
  const open = () =>
    openStreamReader({
      ...(access === undefined ? {} : { access }),
      brokers: value('KAFKA_BROKERS').split(','),
      registryUrl: value('SCHEMA_REGISTRY_URL'),
      topics: Object.values(topics),
      ...reading,
    })
  let stream: StreamReader = await open()
  owned.defer(() => stream[Symbol.asyncDispose]())
  const adminUrl = value('SIMULATOR_ADMIN_URL')
  const all = owned.move()
  return {
    simulator: simulatorAdmin(adminUrl, signal),
    check: {
      adminUrl,
      stored,
      topics,
      get stream() {
        return stream
      },
    },
    async mend() {
      if (stream.failure() === null) return
      const failed = stream
      stream = await open()
      await failed[Symbol.asyncDispose]()
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/** The demo's own connections, as Postgres has them. */
export async function connectionsOf({
  setting,
  emails,
}: Pick<Looking, 'setting' | 'emails'>): Promise<readonly StoredConnection[]> {
  const all = await setting.check.stored.connections()
  return all.filter(({ email }) => emails.has(email))
}

/** Looks at `accounts` through `setting`. */
export function lookingAt(setting: Setting, accounts: readonly DemoAccount[]): Looking {
  return { setting, accounts, emails: new Set(accounts.map(({ email }) => email)) }
}
