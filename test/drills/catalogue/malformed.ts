// MAL: senders that are wrong or hostile.
import { randomBytes, randomUUID } from 'node:crypto'
import { nameless } from '../../support/nameless.ts'
import { connect, type Socket } from 'node:net'
import { rawRequest } from '../../support/raw-http.ts'
import { allOf, below, criterion, met, named, percentile, setUp, type Finding } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { operatorToken } from '../environment/tokens.ts'
import { channelTokenOf, GOOGLE_WEBHOOK, inParallel, notify, rawStatus, share } from '../faults/senders.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'
import { between, pick } from '../random.ts'

const NASTY = [
  "'; drop table outbox; --",
  '<script>alert(1)</script>',
  '${jndi:ldap://x}',
  '../../etc/passwd',
  'a\tb',
  '%00',
  '\u00ff\u00fe',
  'x'.repeat(300),
  '-1',
  '1e9',
  'NaN',
  '18446744073709551616',
]

/** One class of time: an enumeration by clock would need more than noise. */
const LIKE_TIME = below(2, 'times')
const NOISE_MS = 10
const MIDDLE = 0.5
const TAIL = 0.99
const HONEST_ANSWERED = below(1_000, 'ms')

const malformed: Drill = {
  id: 'MAL',
  title: 'Malformed and forged webhooks',
  report: 'ingress',
  criteria: {
    'MAL-1': criterion`A missing token is answered ${named(401)} and has no effect`,
    'MAL-2': criterion`Wrong, truncated, altered and foreign tokens are answered ${named(401)}, all alike`,
    'MAL-3': criterion`An unknown channel or connection is answered like a wrong token, in the median ${LIKE_TIME} the time of the faster, ${setUp(NOISE_MS, 'ms')} aside (no enumeration)`,
    'MAL-4': criterion`Malformed ids and headers are answered ${named('4xx')}, never ${named('5xx')}`,
    'MAL-5': criterion`Bodies and headers beyond the limits are answered ${named(413)} and ${named(431)}, the connection is closed`,
    'MAL-6': criterion`Invalid JSON, wrong types and prototype tricks are answered ${named('4xx')}, never ${named('5xx')}`,
    'MAL-7': criterion`Wrong methods and paths, smuggled and unfinished requests are answered ${named('4xx')} and closed`,
    'MAL-8': criterion`Slow senders are capped; honest traffic is answered meanwhile, ${percentile(TAIL)} ${HONEST_ANSWERED}`,
  },
  faults: ['W6', 'W7', 'W9', 'W10', 'W11', 'W12', 'W14', 'W15'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 4, eventsPerCalendar: 10, latencyMs: 10 }),
  invariants: ['I17', 'I23'],
  wallMs: 600_000,
  recoverWithinMs: 60_000,
  async run(d) {
    const bulk = d.profile === 'ci' ? 4_000 : 100_000
    const [one, other] = d.system.accounts
    const good = channelTokenOf(d, one!)
    const foreign = channelTokenOf(d, other!)
    const before = await effects(d)
    const send = (
      what: string,
      token: string | null,
      number: number | string = 9_000_000,
      channel = 'drill-channel',
    ) => notify(d, what, { channel, number, token })
    const missing = await inParallel(4, 20, () => send('no token', null))
    const wrong = await inParallel(8, 200, (index) => send('wrong token', altered(d, good, foreign, index)))
    const unknown = await inParallel(8, 100, (index) =>
      send(
        'unknown channel',
        `v1.k1.${randomBytes(16).toString('base64url')}.${randomBytes(16).toString('base64url')}`,
        index + 1,
        randomUUID(),
      ),
    )
    const statuses = await hostile(d, bulk, good)
    const limits = await beyondLimits(d, good)
    const bodies = await badBodies(d)
    const shapes = await badShapes(d)
    await d.lasting(1_000)
    const after = await effects(d)
    const slow = await slowSenders(d, good)
    return () => {
      const noEffect = met(
        before.keys === after.keys && before.events === after.events,
        `keys recorded ${before.keys} → ${after.keys}, event rows ${before.events} → ${after.events}`,
      )
      const bodiesOf401 = new Set([...missing, ...wrong, ...unknown].map(({ body }) => nameless(body)))
      const all401 = (answers: readonly OwnRequest[]) =>
        met(
          answers.every(({ status }) => status === 401),
          `${answers.length} answered ${[...new Set(answers.map(({ status }) => status))].join()}`,
        )
      const times = [wrong, unknown].map((answers) =>
        share(
          answers.map(({ latencyMs }) => latencyMs),
          MIDDLE,
        ),
      )
      return {
        criteria: {
          'MAL-1': allOf(all401(missing), noEffect),
          'MAL-2': allOf(all401(wrong), met(bodiesOf401.size === 1, `${bodiesOf401.size} kinds of body`)),
          'MAL-3': allOf(
            all401(unknown),
            LIKE_TIME.judge(
              (Math.max(...times) - NOISE_MS) / Math.min(...times),
              `median ${times.map((ms) => ms.toFixed(1)).join(' and ')} ms`,
            ),
          ),
          'MAL-4': never5xx(statuses),
          'MAL-5': met(
            limits.every(({ status, wanted }) => wanted.includes(status)),
            limits.map(({ what, status }) => `${what} ${status}`).join(', '),
          ),
          'MAL-6': met(
            bodies.every(({ status }) => status >= 400 && status < 500),
            `${bodies.length} bodies answered ${[...new Set(bodies.map(({ status }) => status))].join()}`,
          ),
          'MAL-7': met(
            shapes.every(({ status }) => status <= 0 || (status >= 400 && status < 500)),
            shapes.map(({ what, status }) => `${what} ${status}`).join(', '),
          ),
          'MAL-8': slow,
        },
        witnesses: [
          { name: 'malformed inputs over sockets', need: bulk, got: statuses.length + wrong.length },
        ],
        numbers: { malformed: statuses.length + wrong.length + unknown.length + missing.length },
      }
    }
  },
}

function altered(d: DrillRun, good: string, foreign: string, index: number): string {
  const at = between(d.random, 0, good.length - 1)
  switch (index % 5) {
    case 0:
      return good.slice(0, at)
    case 1:
      return `${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`
    case 2:
      // The ids of one, the signature of another.
      return `${good.split('.').slice(0, -1).join('.')}.${foreign.split('.').at(-1)}`
    case 3:
      return good.replace(/^(v\d)\.[^.]+/, '$1.unknown')
    default:
      return randomBytes(80).toString('base64url')
  }
}

/** What notifications have brought about so far. */
export async function effects({
  system,
}: DrillRun): Promise<{ readonly keys: number; readonly events: number }> {
  const [row] = await system.ask<{ keys: number; events: number }>(
    `select count(*) filter (where table_name = 'webhook_dedupe_keys')::int as keys,
            count(*) filter (where table_name = 'external_calendar_events')::int as events from drill_audit.entries`,
  )
  return row ?? { keys: 0, events: 0 }
}

/** Random rubbish in every header, most of it behind a token that is good or nearly. */
function hostile(d: DrillRun, count: number, good: string): Promise<readonly number[]> {
  return inParallel(16, count, (index) => {
    const value = () =>
      (d.random() < 0.5
        ? pick(d.random, NASTY)
        : randomBytes(between(d.random, 1, 40)).toString('latin1')
      ).replaceAll(/[\r\n\0]/g, ' ')
    const headers = {
      'X-Goog-Channel-ID': value(),
      'X-Goog-Message-Number': value(),
      'X-Goog-Resource-State': value(),
      'X-Goog-Resource-ID': value(),
      'X-Goog-Channel-Token': index % 2 === 0 ? value() : good.slice(0, good.length - (index % 3)),
    }
    return rawStatus(d, Buffer.from(rawRequest('POST', GOOGLE_WEBHOOK, headers), 'latin1'))
  })
}

function never5xx(statuses: readonly number[]): Finding {
  const bad = statuses.filter((status) => status >= 500 || status === -1)
  const kinds = [...Map.groupBy(statuses, (status) => status)].map(
    ([status, all]) => `${all.length} × ${status}`,
  )
  return met(bad.length === 0, `${statuses.length} requests: ${kinds.join(', ')}`)
}

async function beyondLimits(d: DrillRun, good: string) {
  const notification = {
    'X-Goog-Channel-ID': 'c',
    'X-Goog-Message-Number': '5',
    'X-Goog-Resource-State': 'exists',
    'X-Goog-Channel-Token': good,
  }
  const one = async (what: string, wanted: readonly number[], bytes: string) => ({
    what,
    wanted,
    status: await rawStatus(d, bytes),
  })
  return [
    await one(
      '10 MB body',
      [413],
      `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${Object.entries(notification)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}Content-Length: 10485760\r\n\r\n${'x'.repeat(100_000)}`,
    ),
    await one(
      '9 kB header',
      [431],
      rawRequest('POST', GOOGLE_WEBHOOK, { ...notification, 'X-Long': 'x'.repeat(9_000) }),
    ),
    await one(
      '200 headers',
      [431, 400, 202],
      rawRequest('POST', GOOGLE_WEBHOOK, {
        ...notification,
        ...Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`X-${n}`, 'y'.repeat(40)])),
      }),
    ),
    await one(
      'bad length',
      [400],
      `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n`,
    ),
  ]
}

async function badBodies(d: DrillRun): Promise<readonly OwnRequest[]> {
  const token = await operatorToken(d.system)
  const bodies = [
    '{',
    '[]',
    'null',
    '"x"',
    '{"provider_id":1}',
    '{"__proto__":{"provider_id":"x"}}',
    `${'['.repeat(20_000)}`,
    '\uFEFF{}',
    '{"provider_id":"\\ud800"}',
    '{"provider_id":"x\\u0000"}',
    '{"provider_id":"a","provider_id":"b"}',
    `{"provider_id":"${'x'.repeat(5_000)}"}`,
  ]
  return Promise.all(
    bodies.map((body) =>
      d.request({
        what: 'bad body',
        method: 'POST',
        path: '/api/calendar/sync',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: Buffer.from(body, body.startsWith('\uFEFF') ? 'utf16le' : 'utf8'),
      }),
    ),
  )
}

async function badShapes(d: DrillRun) {
  const one = async (what: string, bytes: string) => ({ what, status: await rawStatus(d, bytes) })
  return [
    await one('GET', rawRequest('GET', GOOGLE_WEBHOOK, {})),
    await one('DELETE', rawRequest('DELETE', GOOGLE_WEBHOOK, {})),
    await one('unknown path', rawRequest('POST', '/api/webhooks/calendar/nobody', {})),
    await one('encoded path', rawRequest('POST', '/api/webhooks/calendar/%2e%2e/google', {})),
    await one(
      'CL and TE',
      `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n`,
    ),
    await one('no HTTP', '\x16\x03\x01\x02\x00hello\r\n\r\n'),
    await one('bad version', `POST ${GOOGLE_WEBHOOK} HTTP/9.9\r\nHost: x\r\n\r\n`),
    await one('header injection', `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nX Bad: y\r\n\r\n`),
  ]
}

/** Sockets that never finish their request, and honest notifications beside them. */
async function slowSenders(d: DrillRun, good: string): Promise<Finding> {
  const count = d.profile === 'ci' ? 400 : 2_000
  const sockets: Socket[] = Array.from({ length: count }, () => {
    const socket = connect(Number(d.system.env['INGRESS_PORT']), '127.0.0.1')
    socket.on('error', () => {})
    // Unread, the server's goodbye would never be seen.
    socket.resume()
    socket.write(`POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nX-Slow: `)
    return socket
  })
  try {
    await d.lasting(500)
    const honest = await inParallel(4, 100, (index) =>
      notify(d, 'honest beside slow senders', { channel: 'drill-honest', number: index + 2, token: good }),
    )
    await d.until(
      'the slow ones are closed',
      () => sockets.every((socket) => socket.destroyed || socket.readyState === 'closed'),
      20_000,
    )
    const p99 = share(
      honest.map(({ latencyMs }) => latencyMs),
      TAIL,
    )
    return allOf(
      met(
        honest.every(({ status }) => status === 202),
        `${count} slow sockets closed; ${honest.length} honest notifications answered ${[...new Set(honest.map(({ status }) => status))].join()}`,
      ),
      HONEST_ANSWERED.judge(p99, `p99 ${Math.round(p99)} ms`),
    )
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

export const MALFORMED: readonly Drill[] = [malformed]
