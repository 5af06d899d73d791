// The ingress: how soon a notification is answered, durable in Kafka,
// by one sender alone and by forty without a pause.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { percentile } from '../../infra/oracle/verify.ts'
import { freshToken } from '../support/channel-token.ts'
import type { TestStack } from '../support/test-stack.ts'
import { quantiles, type BenchResult } from './report.ts'
import { openBenchSystem, type BenchSystem } from './stack.ts'

/** So many that none of them is faster than the rate of its calendar. */
const CONNECTIONS = 1500
const SENDERS = 40
const WARM_MS = 3_000
const PHASE_MS = 10_000
const OPEN_LIMIT_MS = 30_000
/** A vendor gives up on a notification after seconds; ours has to be far below. */
const AIM_MS = 1_000

interface Phase {
  readonly tookMs: readonly number[]
  readonly refused: number
  readonly perSecond: number
}

/** Runs for about half a minute. */
export async function benchIngress(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'ingress', signal)
  const provider = providerId(randomUUID())
  const ids = Array.from({ length: CONNECTIONS }, () => connectionId(randomUUID()))
  await system.allow([provider], ids)
  await system.start('ingress')
  const ring = parseKeyring(new Secret(system.env['CHANNEL_TOKEN_KEYS'] ?? ''))
  const tokens = ids.map((id) =>
    freshToken(ring, { vendor: 'google', connectionId: id, providerId: provider, calendarId: null }),
  )
  await untilOpen(system, tokens[0]!, signal)
  await phase(system, tokens, { senders: SENDERS, ms: WARM_MS })
  const alone = await phase(system, tokens, { senders: 1, ms: PHASE_MS })
  const crowd = await phase(system, tokens, { senders: SENDERS, ms: PHASE_MS })
  say(
    `one sender ${quantiles(alone.tookMs).join(', ')}; ${SENDERS} senders ${quantiles(crowd.tookMs).join(', ')}`,
  )
  const p99 = percentile(crowd.tookMs, 0.99) ?? Number.NaN
  const rate = crowd.perSecond / alone.perSecond
  return {
    name: 'ingress',
    title: 'The ingress',
    what: `Signed Google notifications on kept-alive connections, each answered 202 once it is durable in Kafka; every sender sends its next one as soon as it has the answer.`,
    columns: ['', 'answered/s', 'p50', 'p95', 'p99', 'not 202'],
    rows: [
      ['one sender', String(Math.round(alone.perSecond)), ...quantiles(alone.tookMs), String(alone.refused)],
      [
        `${SENDERS} senders`,
        String(Math.round(crowd.perSecond)),
        ...quantiles(crowd.tookMs),
        String(crowd.refused),
      ],
    ],
    verdicts: [
      `${SENDERS} senders are answered **${rate.toFixed(1)} ×** as often in all as one alone: what arrives together is published together.`,
      `p99 under ${SENDERS} senders is ${Math.round(p99)} ms (aim ≤ ${AIM_MS}: ${p99 <= AIM_MS ? 'met' : 'missed'}).`,
    ],
  }
}

async function phase(
  system: BenchSystem,
  tokens: readonly string[],
  { senders, ms }: { readonly senders: number; readonly ms: number },
): Promise<Phase> {
  const tookMs: number[] = []
  let refused = 0
  let number = 0
  const channel = randomUUID()
  const began = performance.now()
  const until = began + ms
  async function sender(): Promise<void> {
    while (performance.now() < until) {
      number += 1
      const sentAt = performance.now()
      const status = await notify(system, { channel, number, token: tokens[number % tokens.length]! })
      if (status === 202) tookMs.push(performance.now() - sentAt)
      else refused += 1
    }
  }
  await Promise.all(Array.from({ length: senders }, sender))
  return { tookMs, refused, perSecond: tookMs.length / ((performance.now() - began) / 1000) }
}

async function notify(
  { env }: BenchSystem,
  what: { readonly channel: string; readonly number: number; readonly token: string },
): Promise<number> {
  const response = await fetch(`${env['PUBLIC_URL']}/api/webhooks/calendar/google`, {
    method: 'POST',
    headers: {
      'x-goog-resource-state': 'exists',
      'x-goog-channel-id': what.channel,
      'x-goog-message-number': String(what.number),
      'x-goog-resource-id': 'resource',
      'x-goog-channel-token': what.token,
    },
    signal: AbortSignal.timeout(10_000),
  })
  await response.arrayBuffer()
  return response.status
}

/** The ingress hears of the lists within two seconds. */
async function untilOpen(system: BenchSystem, token: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + OPEN_LIMIT_MS
  for (let number = 1; ; number += 1) {
    if ((await notify(system, { channel: 'warm', number, token })) === 202) return
    if (Date.now() > deadline) throw new Error('the ingress never answered 202')
    await delay(100, undefined, { signal })
  }
}
