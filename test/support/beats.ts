// What the processes of an installation that is well tell in Postgres, with changes.
import { randomUUID } from 'node:crypto'
import {
  HEARTBEAT_LOST_AFTER_MS,
  type InstanceFacts,
  NO_FACTS,
  type ServiceInstance,
} from '#shared/domain/service-instances.ts'
import { RETRY_TOPICS } from '#shared/messages/sync-retry-scheduled.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'
import { SERVICES, type ServiceName } from '../../services/cli/config.ts'
import type { Beats } from '../../services/cli/service-report.ts'

/** µs; any moment. */
export const NOW = 1_800_000_000_000_000
const PARTITIONS = 3

type Change = Partial<Omit<ServiceInstance, 'facts' | 'isLive'>> & { readonly facts?: Partial<InstanceFacts> }

/** A process of a service; it lives when it was seen a moment ago. */
export function process(service: string, { facts, ...change }: Change = {}): ServiceInstance {
  const seenAt = change.seenAt ?? NOW - 300_000
  return {
    instance: randomUUID(),
    service,
    version: '1.2.3',
    host: 'here',
    pid: 7,
    startedAt: NOW - 3_600_000_000,
    isReady: true,
    problems: {},
    ...change,
    seenAt,
    isLive: NOW - seenAt <= HEARTBEAT_LOST_AFTER_MS * 1000,
    facts: { ...NO_FACTS, ...ownedBy(service), lastProgressAt: NOW - 2_000_000, ...facts },
  }
}

function ownedBy(service: string): Partial<InstanceFacts> {
  const topics: readonly string[] =
    service === 'sync' ? Object.values(REQUESTED_TOPIC) : service === 'retry' ? RETRY_TOPICS : []
  const all = Array.from({ length: PARTITIONS }, (_, partition) => partition)
  return {
    partitionCounts: Object.fromEntries(topics.map((topic) => [topic, PARTITIONS])),
    partitions: topics.flatMap((topic) => all.map((partition) => ({ topic, partition }))),
  }
}

/** One process of each service, or those given. */
export function beatsOf(
  given: Partial<Record<ServiceName, readonly ServiceInstance[]>> = {},
  unrelayed: Beats['unrelayed'] = [],
): Beats {
  return { now: NOW, unrelayed, instances: SERVICES.flatMap((name) => given[name] ?? [process(name)]) }
}
