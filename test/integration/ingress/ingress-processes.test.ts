// The ingress as a process under load, killed and stopped: every notification that was answered 2xx
// is in the topic afterwards.
import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { freshToken } from '../../support/channel-token.ts'
import { admit } from '../../support/admit.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { openReader, type Reader } from '../../support/outbox.ts'
import { testStack } from '../../support/stack.ts'
import { openWorld, type World } from '../../support/world.ts'

const SENDERS = 40
/** So many that none of them is faster than its rate, and every key is on the topic. */
const CONNECTIONS = 400
/** Accepted before anything happens to the process: pools are warm and groups are full. */
const TRAFFIC_MIN = 1500

let world: World
let codec: Codec
let reader: Reader
let tokens: readonly string[]

beforeAll(async () => {
  world = await openWorld({ label: 'ingress-processes' })
  const { registryUrl, brokers } = testStack()
  const topics = [TOPICS.requestedGoogle] as const
  codec = await openCodec({ registryUrl, prefix: world.prefix, topics }, AbortSignal.timeout(60_000))
  reader = await openReader({ brokers, prefix: world.prefix }, topics)
  const provider = providerId(randomUUID())
  const connections = Array.from({ length: CONNECTIONS }, () => connectionId(randomUUID()))
  await admit({ providerIds: [provider], connectionIds: connections })
  const ring = parseKeyring(new Secret(world.env['CHANNEL_TOKEN_KEYS'] ?? ''))
  tokens = connections.map((id) =>
    freshToken(ring, { vendor: 'google', connectionId: id, providerId: provider, calendarId: null }),
  )
})
afterAll(async () => {
  await reader[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
})

/**
 * Senders that notify without a pause, and what each notification was answered;
 * 'broken' where no answer came.
 */
class Senders {
  readonly answers = new Map<string, number | 'broken'>()
  /** From request to answer of those that were accepted, in ms. */
  readonly tookMs: number[] = []
  underWay = 0
  #stop = false
  readonly #channel = `c${randomBytes(4).toString('hex')}`
  readonly #senders: Promise<void>[]

  constructor() {
    this.#senders = Array.from({ length: SENDERS }, (_, sender) => this.#send(sender))
  }

  count(answer: number | 'broken'): number {
    return [...this.answers.values()].filter((one) => one === answer).length
  }

  /** The time that this share of the accepted ones stayed within, in words. */
  latency(share: number): string {
    const sorted = this.tookMs.toSorted((a, b) => a - b)
    return `p${share * 100} ${(sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1)} ms`
  }

  /** The delivery keys that were answered 2xx. */
  accepted(): readonly string[] {
    return [...this.answers].flatMap(([key, answer]) => (answer === 202 ? [key] : []))
  }

  async end(): Promise<void> {
    this.#stop = true
    await Promise.all(this.#senders)
  }

  async #send(sender: number): Promise<void> {
    for (let turn = 0; !this.#stop; turn += 1) {
      const number = 1 + sender + turn * SENDERS
      this.underWay += 1
      const began = performance.now()
      const answer = await this.#notify(number)
      this.answers.set(`g:${this.#channel}:${number}`, answer)
      if (answer === 202) this.tookMs.push(performance.now() - began)
      this.underWay -= 1
    }
  }

  async #notify(number: number): Promise<number | 'broken'> {
    try {
      const response = await fetch(`${world.env['PUBLIC_URL']}/api/webhooks/calendar/google`, {
        method: 'POST',
        headers: {
          'x-goog-channel-id': this.#channel,
          'x-goog-message-number': String(number),
          'x-goog-resource-state': 'exists',
          'x-goog-channel-token': tokens[number % CONNECTIONS] ?? '',
        },
        signal: AbortSignal.timeout(10_000),
      })
      await response.arrayBuffer()
      return response.status
    } catch {
      // Nobody listens any more: do not spin.
      await new Promise(setImmediate)
      return 'broken'
    }
  }
}

/** Waits until every key is in the topic; fails with those that are missing. */
async function expectInTopic(keys: readonly string[]): Promise<void> {
  let read = 0
  const found = new Set<string>()
  let missing: readonly string[] = keys
  await eventually('all accepted notifications in the topic', async () => {
    for (; read < reader.records.length; read += 1) {
      const decoded = await codec.decode(TOPICS.requestedGoogle, reader.records[read]?.value ?? null)
      if (decoded.kind === 'message' && decoded.message.deliveryKey) found.add(decoded.message.deliveryKey)
    }
    missing = keys.filter((key) => !found.has(key))
    return missing.length === 0
  }).catch(() => undefined)
  expect(missing).toEqual([])
}

test('kill -9 under load, three times: every notification answered 2xx is in the topic', async () => {
  await using ingress = await world.start('ingress')
  const accepted: string[] = []
  for (let kill = 1; kill <= 3; kill += 1) {
    const senders = new Senders()
    await eventually('traffic', () => senders.count(202) > TRAFFIC_MIN)
    const underWay = senders.underWay
    await ingress.kill()
    await senders.end()
    // The witness: it was killed with requests under way.
    expect(underWay).toBeGreaterThan(0)
    expect(senders.count('broken')).toBeGreaterThan(0)
    expect(new Set(senders.answers.values())).toEqual(new Set([202, 'broken']))
    measured(`ingress kill ${kill}: ${senders.count(202)} accepted, ${senders.count('broken')} broken`)
    accepted.push(...senders.accepted())
    await ingress.restart(AbortSignal.timeout(60_000))
  }
  await expectInTopic(accepted)
})

test('SIGTERM under load: no wrong answer, nothing that was accepted is lost, and it ends by itself', async () => {
  await using ingress = await world.start('ingress')
  const senders = new Senders()
  await eventually('traffic', () => senders.count(202) > TRAFFIC_MIN)
  const stopping = performance.now()
  const ended = ingress.endedByItself()
  process.kill(ingress.pid, 'SIGTERM')
  const exit = await ended
  const [median, tail] = [senders.latency(0.5), senders.latency(0.99)]
  measured(`${SENDERS} senders without a pause: answered 202 after ${median}, ${tail}`)
  measured(`ingress stopped under load within ${Math.round(performance.now() - stopping)} ms`)
  await senders.end()
  // The witness: it was stopped while requests came.
  expect(senders.count('broken')).toBeGreaterThan(0)
  expect(new Set(senders.answers.values())).toEqual(new Set([202, 'broken']))
  expect(exit).toEqual({ code: 0, signal: null })
  await expectInTopic(senders.accepted())
})
