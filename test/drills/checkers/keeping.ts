// I18, I20, I24, I25, I26. Secrets stay secret, everything stays bounded, stops are clean,
// disconnecting is final. Any state that a crash leaves is a legal start.
import { TOPICS } from '#schemas/topics.ts'
import { foldChanges, foldState } from '../../../infra/oracle/verify.ts'
import { within } from '../criterion.ts'
import type { AuditRow } from '../ledgers/audit.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'
import { isListing } from './history.ts'
import { forwardRows } from './transactions.ts'
import { repeatedMessages } from './stream.ts'

/** Peaks seen with 20 connections under load were 283 MB (sync); a leak passes this soon. */
const RSS_MAX_MB = 600
/** Slow senders may hold a socket each, up to the ingress's cap. */
const DESCRIPTORS_MAX = 1_200
const SESSIONS_MAX = 150
export const STOPS_WITHIN = within(10_000)
const PIECE = 16

export const noSecretLeaks: Checker = {
  id: 'I18',
  title: 'No secret leaks: not in logs, topics, tables, metrics or answers, in no encoding',
  check({ secrets, texts }): Findings {
    const failures: string[] = []
    let checked = 0
    for (const [name, secret] of secrets) {
      const forms = formsOf(secret)
      for (const [place, text] of texts) {
        checked += 1
        const form = forms.find(([, needle]) => text.includes(needle))
        if (form) failures.push(`${name} is in ${place} (${form[0]})`)
      }
    }
    return { checked, failures }
  },
}

/** A secret as it may appear: raw, a piece of it, and the usual encodings. */
export function formsOf(secret: string): readonly (readonly [string, string])[] {
  const bytes = Buffer.from(secret)
  const middle = Math.max(0, Math.floor((secret.length - PIECE) / 2))
  const forms: (readonly [string, string])[] = [
    ['raw', secret],
    ['base64', bytes.toString('base64').replace(/=+$/, '')],
    ['base64url', bytes.toString('base64url')],
    ['hex', bytes.toString('hex')],
    ['URL', encodeURIComponent(secret)],
  ]
  if (secret.length > PIECE * 2) forms.push(['a piece', secret.slice(middle, middle + PIECE)])
  return forms
}

export const bounded: Checker = {
  id: 'I20',
  title: 'Bounded: memory, descriptors and sessions stay under their caps, backlogs drain',
  check({ samples, load, outboxLeft, heldLeft }): Findings {
    const failures: string[] = []
    const peaks = new Map<string, { rssMb: number; descriptors: number }>()
    for (const { instance, rssMb, descriptors } of samples) {
      const peak = peaks.get(instance) ?? { rssMb: 0, descriptors: 0 }
      peaks.set(instance, {
        rssMb: Math.max(peak.rssMb, rssMb),
        descriptors: Math.max(peak.descriptors, descriptors),
      })
    }
    for (const [instance, { rssMb, descriptors }] of peaks) {
      if (rssMb > RSS_MAX_MB) failures.push(`${instance} reached ${Math.round(rssMb)} MB`)
      if (descriptors > DESCRIPTORS_MAX) failures.push(`${instance} held ${descriptors} descriptors`)
    }
    const sessions = Math.max(0, ...load.map((sample) => sample.sessions))
    if (sessions > SESSIONS_MAX) failures.push(`${sessions} database sessions were open`)
    if (outboxLeft > 0) failures.push(`${outboxLeft} outbox rows were left`)
    if (heldLeft > 0) failures.push(`${heldLeft} held requests were left`)
    return { checked: samples.length, failures }
  },
}

/** How each process ended that was asked to: after how long, and with what. */
export function stopsOf({ processes }: Pick<Ledgers, 'processes'>) {
  return processes
    .filter(({ event }) => event === 'stopped')
    .map(({ instance, detail }) => {
      const [, ms, how = 'nothing'] = /^(\d+) ms, (.*)$/.exec(detail) ?? []
      return { instance, ms: Number(ms), how }
    })
}

export const cleanStop: Checker = {
  id: 'I24',
  title: `Clean stop: SIGTERM ends with code 0 ${STOPS_WITHIN.text} and nothing comes twice`,
  check(ledgers): Findings {
    const failures: string[] = []
    const stops = stopsOf(ledgers)
    for (const { instance, ms, how } of stops) {
      if (ms > STOPS_WITHIN.limit) failures.push(`${instance} took ${ms} ms to stop`)
      if (how !== 'code 0') failures.push(`${instance} ended with ${how}`)
    }
    const isUnclean = ledgers.processes.some(({ event }) => event === 'ended')
    const repeats = repeatedMessages(ledgers)
    if (!isUnclean && repeats > 0) failures.push(`${repeats} messages came twice although nothing was killed`)
    return { checked: stops.length, failures }
  },
}

export const disconnectIsFinal: Checker = {
  id: 'I25',
  title:
    'Disconnecting is final: no later write, no later call, no row, no channel, no credentials, no name; every removal is told',
  check(ledgers): Findings {
    const ended = ledgers.nemesis.filter(({ action }) => action === 'disconnect')
    const failures = ended.flatMap(({ target, activeAt }) =>
      [...remains(ledgers, target, activeAt ?? Infinity), ...untold(ledgers, target)].map(
        (text) => `connection ${target}: ${text}`,
      ),
    )
    return { checked: ended.length, failures }
  },
}

function remains({ audit, calls, accounts }: Ledgers, target: string, from: number): string[] {
  const found: string[] = []
  const own = audit.filter(({ connectionId }) => connectionId === target)
  const late = forwardRows({ rows: own }).filter((row) => row.at > from && row.op !== 'DELETE')
  if (late.length > 0) found.push(`${late.length} event rows written after its end`)
  const rows = left(own, 'external_calendar_events', 'event_id')
  if (rows > 0) found.push(`${rows} event rows left`)
  const channels = left(own, 'channels', 'id')
  if (channels > 0) found.push(`${channels} channels left`)
  const calendars = left(own, 'external_calendars', 'id')
  if (calendars > 0) found.push(`${calendars} calendars left`)
  const held = left(own, 'held_requests', 'connection_id')
  if (held > 0) found.push('a request is held for it')
  const last = own.findLast(({ table }) => table === 'external_calendar_connections')
  if (last?.new?.['vendor_account_id'] !== null) found.push('whose account it was is still known')
  const account = accounts.find(({ connectionId }) => connectionId === target)
  const asked = calls.filter(({ accountId }) => accountId === account?.accountId)
  const listed = asked.filter((call) => isListing(call) && call.start > from + 1_000)
  if (listed.length > 0) found.push(`${listed.length} listings after its end`)
  const erasedAt = own.findLast(({ table, op }) => table === 'connection_credentials' && op === 'DELETE')?.at
  if (erasedAt === undefined) found.push('its credentials were not erased')
  else {
    const used = asked.filter(({ start }) => start > erasedAt).length
    if (used > 0) found.push(`${used} calls after its credentials were erased`)
  }
  return found
}

/** What was inserted and never deleted. */
function left(audit: readonly AuditRow[], table: AuditRow['table'], id: string): number {
  const there = new Set<unknown>()
  for (const row of audit)
    if (row.table === table) {
      // A channel may get another id: the one that the vendor gave.
      there.delete(row.old?.[id])
      if (row.op !== 'DELETE') there.add(row.new?.[id])
    }
  return there.size
}

/** Readers of the topics still hold events of it. */
function untold({ topics }: Ledgers, target: string): string[] {
  const folds = {
    [TOPICS.eventChanged]: foldChanges(topics.get(TOPICS.eventChanged) ?? []),
    [TOPICS.eventState]: foldState(topics.get(TOPICS.eventState) ?? []),
  }
  return Object.entries(folds).flatMap(([topic, { holdings }]) => {
    const kept = [...holdings.keys()].filter((key) => key.startsWith(`${target}/`)).length
    return kept > 0 ? [`${kept} events are still on ${topic}`] : []
  })
}

export const restartsFromAnything: Checker = {
  id: 'I26',
  title: 'Restart from anything: every process that died came back by itself and the system came to rest',
  check({ processes, marks }: Pick<Ledgers, 'processes' | 'marks'>): Findings {
    const failures: string[] = []
    const last = new Map<string, string>()
    let deaths = 0
    for (const { instance, event } of processes) {
      if (event === 'ended') deaths += 1
      if (event !== 'stopped') last.set(instance, event)
    }
    for (const [instance, event] of last)
      if (event === 'ended') failures.push(`${instance} did not come back`)
    if (marks.convergedAt === null) failures.push('the system did not come to rest after the crashes')
    return { checked: deaths, failures }
  },
}
