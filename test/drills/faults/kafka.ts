// Faults inside Kafka: poison records, offsets set back. Also the round trip that says whether the
// broker is there.
import { Producer, Admin } from '@platformatic/kafka'
import { clientOptions } from '../../../infra/stack/kafka-operator.ts'
import type { DrillRun } from '../drill.ts'
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
