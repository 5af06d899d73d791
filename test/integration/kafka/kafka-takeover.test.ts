// Who joins a group whose leader falls silent between its join and its assignment waits for
// that session, in one life.
import { connect, type Socket } from 'node:net'
import { Kafka, logLevel, PartitionAssigners } from 'kafkajs'
import { expect, test } from 'vitest'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { type LogLine, loggerTo, record, silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
const GROUP = 'sync'
const SESSION_MS = 8_000

interface Mortal extends Disposable {
  /** As leader it takes part in the next join and never says who gets what. */
  fallSilent(): void
  /** Its sockets end, without leaving: as kill -9 would have it. */
  die(): void
}

/** Resolves when it is a member with an assignment. */
async function openMortal({ brokers, prefix }: KafkaConfig): Promise<Mortal> {
  const sockets = new Set<Socket>()
  let isDead = false
  let isSilent = false
  const die = (): void => {
    isDead = true
    // The library hears of an end only with an error or a FIN.
    for (const socket of sockets) socket.destroy(new Error('killed'))
  }
  const kafka = new Kafka({
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    socketFactory: ({ host, port, onConnect }) => {
      const socket = connect(port, host, onConnect)
      sockets.add(socket)
      if (isDead) socket.destroy(new Error('killed'))
      return socket
    },
  })
  const consumer = kafka.consumer({
    groupId: prefix + GROUP,
    sessionTimeout: SESSION_MS,
    rebalanceTimeout: 2 * SESSION_MS,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 250,
    retry: { restartOnFailure: async () => false },
    partitionAssigners: [
      (deps) => {
        const assigner = PartitionAssigners.roundRobin(deps)
        // Called between the answer to the join and the assignment of the others.
        return { ...assigner, assign: (group) => (isSilent ? new Promise(() => {}) : assigner.assign(group)) }
      },
    ],
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [prefix + TOPIC] })
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()))
  void consumer.run({ eachMessage: async () => {} }).catch(() => {})
  await joined
  return { die, fallSilent: () => void (isSilent = true), [Symbol.dispose]: die }
}

test('a dead leader costs its session, and whoever waits for it no life of its own', async () => {
  const config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test' }
  await applyTopics({ ...config, partitions: 4 }, silent())
  using leader = await openMortal(config)
  using other = await openMortal(config)
  // The next join lasts until the other's session is over,
  // so that leader and successor are in one generation.
  other.die()
  leader.fallSilent()
  const lines: LogLine[] = []
  await using successor = await record(config, { groupId: GROUP, topics: [TOPIC], logger: loggerTo(lines) })
  await successor.until(() => successor.consumer.owned().length === 4, 5 * SESSION_MS)
  expect(lines.filter(({ msg }) => /joins again|timed out/.test(msg))).toEqual([])
}, 90_000)
