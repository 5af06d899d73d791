// I15, I16, I17: what the ingress answers. A 2xx is durable, a repeat changes nothing, trouble of
// ours is 503 and never 4xx.
import { createHash } from 'node:crypto'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { GateSwitch } from '../environment/gates.ts'
import type { CalendarName, Ledgers, WebhookAttempt } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'

const REQUESTED = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft]
/**
 * How long after a switch its old answer may still be given: OFF_WITHIN_MS plus a request's time.
 */
const GATE_LAG_MS = 3_000

/** The clocks of vendor, harness and ingress are one; times are read beside the call, not in it. */
const CLOCK_READ_MS = 100

export const ackMeansDurable: Checker = {
  id: 'I15',
  title:
    'A 2xx means durable: every acknowledged notification is on its topic, or a ring without a key for its calendar that was made before the answer',
  check(ledgers): Findings {
    const rung = ringsByKey(ledgers)
    const acked = acknowledgements(ledgers)
    const isHeld = heldAt(ledgers)
    const isJoined = joinedRings(ledgers)
    const failures = acked
      .filter((one) => !rung.has(one.key) && !isJoined(one) && !(one.attempt?.told && isHeld(one.attempt)))
      .map(({ key }) => `${key} was answered 202, is on no topic and joined no ring of its calendar`)
    return { checked: new Set(acked.map(({ key }) => key)).size, failures: [...new Set(failures)] }
  },
}

/**
 * Whether a ring without a key, of the calendar of this notification, was made while it was under
 * way: one made before it arrived says nothing of it. Notifications that come faster than the rate
 * of their calendar share such a ring.
 */
export function joinedRings(ledgers: Pick<Ledgers, 'topics' | 'audit'>): (one: Acknowledgement) => boolean {
  const calendarOf = calendarsByChannel(ledgers)
  const made = new Map<string, number[]>()
  for (const topic of REQUESTED)
    for (const { message } of ledgers.topics.get(topic) ?? []) {
      const ring = message as unknown as Partial<SyncRequested> | null
      if (ring?.deliveryKey !== null || ring.reason !== 'webhook') continue
      const name = nameOf({ connectionId: ring.connectionId ?? '', calendarId: ring.calendarId ?? null })
      made.set(name, [...(made.get(name) ?? []), (ring.requestedAt ?? 0) / 1000])
    }
  return ({ attempt, calendar, from, until }) => {
    const mine = calendar ?? calendarOf.get(attempt?.channelId.toLowerCase() ?? '')
    const times = mine === undefined ? [] : (made.get(nameOf(mine)) ?? [])
    return times.some((at) => at > from - CLOCK_READ_MS && at < until + CLOCK_READ_MS)
  }
}

function nameOf({ connectionId, calendarId }: CalendarName): string {
  return `${connectionId} ${calendarId}`
}

function calendarsByChannel({ audit }: Pick<Ledgers, 'audit'>): ReadonlyMap<string, CalendarName> {
  return new Map(
    audit.flatMap(({ table, connectionId, new: row }) =>
      table === 'channels' && typeof row?.['id'] === 'string'
        ? [
            [
              row['id'].toLowerCase(),
              { connectionId: connectionId ?? '', calendarId: String(row['calendar_id']) },
            ] as const,
          ]
        : [],
    ),
  )
}

/**
 * Whether a refusal of the connection was stored about then. A batch is answered 202 for the items
 * that were let in. The others are kept as rows.
 */
function heldAt({ audit }: Pick<Ledgers, 'audit'>): (attempt: WebhookAttempt) => boolean {
  const calendarOf = calendarsByChannel({ audit })
  const kept = Map.groupBy(
    audit.filter(({ table, op }) => table === 'held_requests' && op !== 'DELETE'),
    ({ connectionId }) => connectionId,
  )
  return ({ channelId, at, latencyMs }) => {
    const rows = kept.get(calendarOf.get(channelId.toLowerCase())?.connectionId ?? '') ?? []
    return rows.some((row) => row.at > at - GATE_LAG_MS && row.at < at + latencyMs + GATE_LAG_MS)
  }
}

export const idempotentIngress: Checker = {
  id: 'I16',
  title: 'k deliveries of one notification make one completed unit for its key',
  check(ledgers): Findings {
    const failures: string[] = []
    const recorded = new Map<string, string>()
    let checked = 0
    for (const { table, op, old, new: row, connectionId, txid } of ledgers.audit) {
      if (table !== 'webhook_dedupe_keys') continue
      const key = `${connectionId} ${String((row ?? old)?.['delivery_key'])}`
      // Keys are forgotten after their time; a replay later than that is a new notification.
      if (op === 'DELETE') recorded.delete(key)
      if (op !== 'INSERT') continue
      checked += 1
      if (recorded.has(key))
        failures.push(`the key ${key} was recorded by tx ${recorded.get(key)} and by tx ${txid}`)
      recorded.set(key, txid)
    }
    return { checked, failures }
  },
}

export const answerContract: Checker = {
  id: 'I17',
  title:
    'Answer contract: trouble of ours is 503 with Retry-After, 403 only behind a closed gate, never 5xx for bad input',
  check(ledgers): Findings {
    const failures: string[] = []
    const answers = [
      ...ledgers.webhooks.flatMap(({ at, status, channelId, messageNumber }) =>
        status === undefined
          ? []
          : [{ at, status, what: `${channelId}:${messageNumber}`, retryAfter: 'unknown' as string | null }],
      ),
      ...ledgers.requests.filter(({ status }) => status !== 0),
    ]
    for (const { at, status, what, retryAfter } of answers) {
      if (status >= 500 && status !== 503) failures.push(`${what} was answered ${status}`)
      if (status === 503 && retryAfter === null) failures.push(`${what} was answered 503 without Retry-After`)
      if (status === 403 && !someGateClosed(ledgers.gates, at))
        failures.push(`${what} was answered 403 while every gate was open`)
    }
    return { checked: answers.length, failures }
  },
}

/** A notification that got a 2xx. Times: ms since 1970. */
export interface Acknowledgement {
  readonly key: string
  /** null: sent by the harness. */
  readonly attempt: WebhookAttempt | null
  /** Where the harness knows it from the token. */
  readonly calendar: CalendarName | null
  /** It arrived after this and was answered before that. */
  readonly from: number
  readonly until: number
}

/** The notifications that got a 2xx, without those that only open a channel or tell of one. */
export function acknowledgements({
  webhooks,
  requests,
}: Pick<Ledgers, 'webhooks' | 'requests'>): readonly Acknowledgement[] {
  return [
    ...webhooks.flatMap((attempt) => {
      const key = attempt.status === 202 ? keyOf(attempt) : null
      const { at, latencyMs, told } = attempt
      // Google's are noted as they are sent, Graph's when they are answered.
      const times = told ? { from: at - latencyMs, until: at } : { from: at, until: at + latencyMs }
      return key === null ? [] : [{ key, attempt, calendar: null, ...times }]
    }),
    ...requests.flatMap(({ status, delivery, calendar = null, at, latencyMs }) => {
      const times = { from: at, until: at + latencyMs }
      return status === 202 && delivery !== null
        ? [{ key: `g:${delivery}`, attempt: null, calendar, ...times }]
        : []
    }),
  ]
}

const GRAPH_EVENT = /^users(?:\('|\/)([^/']+)(?:'\))?\/events(?:\('|\/)([^/']+)/i

/**
 * What the ingress calls a delivery. These rules are written here a second time on purpose.
 * Google's: channel and number. Graph's have no number: subscription, event however it is spelled,
 * kind of change and version.
 */
function keyOf({ channelId, messageNumber, told }: WebhookAttempt): string | null {
  if (messageNumber > 0) return `g:${channelId}:${messageNumber}`
  if (!told) return null
  const [, user = '', event = ''] = GRAPH_EVENT.exec(told.resource) ?? []
  const resource = `users/${user.toLowerCase()}/events/${event}`
  const parts = JSON.stringify([channelId.toLowerCase(), resource, told.changeType, told.etag])
  return `m:${createHash('sha256').update(parts).digest('base64url')}`
}

/** Delivery key → how many rings carry it. */
export function ringsByKey({ topics }: Pick<Ledgers, 'topics'>): ReadonlyMap<string, number> {
  const rung = new Map<string, number>()
  for (const topic of REQUESTED)
    for (const { message } of topics.get(topic) ?? []) {
      const key = (message as unknown as { deliveryKey?: string | null } | null)?.deliveryKey
      if (typeof key === 'string') rung.set(key, (rung.get(key) ?? 0) + 1)
    }
  return rung
}

/** Whether any gate was closed, or anybody shut out, at about this time. */
function someGateClosed(gates: readonly GateSwitch[], at: number): boolean {
  const before = gates.filter(({ askedAt }) => askedAt <= at)
  const isRecent = before.some(
    ({ doneAt, on, ids }) => (on === true || ids !== null) && at - doneAt < GATE_LAG_MS,
  )
  const latest = new Map(before.map((one) => [one.gate, one]))
  const isOff = [...latest.values()].some(({ on }) => on === false)
  // A list may leave a connection out. The answer does not tell which connection a notification was
  // for.
  return isOff || isRecent || narrowed(gates, at)
}

function narrowed(gates: readonly GateSwitch[], at: number): boolean {
  const lists = gates.filter(({ ids }) => ids !== null)
  return lists.some(({ gate, ids, askedAt }) => {
    const earlier = lists.filter((one) => one.gate === gate && one.askedAt < askedAt)
    const lost = earlier.some((one) => one.ids?.some((id) => !ids?.includes(id)))
    const until = lists.find((one) => one.gate === gate && one.askedAt > askedAt)?.doneAt ?? Infinity
    return lost && askedAt <= at && at < until + GATE_LAG_MS
  })
}
