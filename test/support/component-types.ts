// What a fault test holds of a component, be it a process of ours or a container.
import type { Kafka } from '../../infra/stack/kafka.ts'
import type { PostgresAddress } from '../../infra/stack/postgres.ts'
import type { Registry } from '../../infra/stack/registry.ts'
import type { UnleashAddress } from '../../infra/stack/unleash.ts'

/** What a fault test does to a component. */
export interface Stoppable extends AsyncDisposable {
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP. */
  pause(): void | Promise<void>
  resume(): void | Promise<void>
  /** On the same data and port; resolves when ready. */
  restart(signal: AbortSignal): Promise<void>
}

export type OwnKafka = Stoppable & Pick<Kafka, 'brokers'>
export type OwnRegistry = Stoppable & Pick<Registry, 'url'>
export type OwnPostgres = Stoppable & Pick<PostgresAddress, 'url'>
export type OwnUnleash = Stoppable & UnleashAddress
