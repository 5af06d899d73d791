// Faults inside Kafka: poison records, offsets set back. Also the round trip that says whether the
// broker is there.
import {
  Admin,
  ConfigResourceTypes,
  IncrementalAlterConfigOperationTypes,
  Producer,
} from '@platformatic/kafka'
import { clientOptions } from '../../../infra/stack/kafka-operator.ts'
import type { ActiveFault, DrillRun } from '../drill.ts'
import type { DrillStack } from '../environment/stack.ts'

/** Whether the broker answers around the proxy. */
export async function kafkaIsUp({ system }: DrillRun): Promise<boolean> {
  return system.stack.kafka.isUp()
}

/** Around the lines, as one who may do everything. */
function operatorOf({ kafka, cluster }: DrillStack) {
  return {
    bootstrapBrokers: kafka.brokers.split(','),
    ...(cluster === null ? {} : clientOptions(cluster.operator)),
  }
}

export interface Poison {
  readonly topic: string
  readonly key: string | null
  readonly value: Buffer | null
  readonly partition?: number
}

/** Produces records as they are; each is noted as the poison `<topic>-<partition>@<offset>`. */
export async function producePoison(drill: DrillRun, poison: readonly Poison[]): Promise<void> {
  const { system } = drill
  const producer = new Producer({
    clientId: 'calstream-drill-poison',
    ...operatorOf(system.stack),
  })
  try {
    for (const { topic, key, value, partition = 0 } of poison) {
      const { offsets = [] } = await producer.send({
        messages: [
          {
            topic: system.prefix + topic,
            partition,
            ...(key === null ? {} : { key: Buffer.from(key) }),
            ...(value === null ? {} : { value }),
          },
        ],
      })
      const offset = offsets[0]?.offset
      await drill.strike(
        { fault: 'K12', action: 'poison', target: `${topic}-${partition}@${offset}` },
        async () => {},
      )
    }
  } finally {
    await producer.close()
  }
}

/**
 * Every record of these topics has to be on so many brokers before it counts, until healed. More
 * than there are: each Produce is answered NOT_ENOUGH_REPLICAS.
 */
export function replicasWanted(
  drill: DrillRun,
  {
    topics,
    wanted,
    usual,
  }: { readonly topics: readonly string[]; readonly wanted: number; readonly usual: number },
): Promise<ActiveFault> {
  const { system } = drill
  const set = async (value: number): Promise<void> => {
    const admin = new Admin({ clientId: 'calstream-drill', ...operatorOf(system.stack) })
    const configOperation = IncrementalAlterConfigOperationTypes.SET
    const configs = [{ name: 'min.insync.replicas', value: String(value), configOperation }]
    try {
      await admin.incrementalAlterConfigs({
        resources: topics.map((topic) => ({
          resourceType: ConfigResourceTypes.TOPIC,
          resourceName: system.prefix + topic,
          configs,
        })),
      })
    } finally {
      await admin.close()
    }
  }
  return drill.inject({
    fault: 'K5',
    action: `${wanted} replicas in sync wanted`,
    target: 'kafka',
    inject: () => set(wanted),
    // What it does shows in what clients are answered: a witness counts that.
    isActive: () => true,
    heal: () => set(usual),
    isHealed: () => true,
  })
}

/**
 * Deletes a consumer group's offsets, so it begins where its policy says. The group must be empty.
 */
export async function forgetOffsets({ system }: DrillRun, group: string): Promise<void> {
  const admin = new Admin({
    clientId: 'calstream-drill',
    ...operatorOf(system.stack),
  })
  try {
    await admin.deleteGroups({ groups: [system.prefix + group] })
  } finally {
    await admin.close()
  }
}
