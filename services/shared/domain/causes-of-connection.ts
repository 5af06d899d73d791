// The causes that a connection's own row and its gate tell. Pure. Invariant: a connection that is
// not in sync by its row has at least one of them, and the first says why.
import { causeOf, type Cause } from './cause.ts'
import type { CauseCode } from './causes.ts'
import {
  GRANT_WARN_MS,
  STALE_AFTER_MS,
  type ConnectionFacts,
  type ConnectionStatus,
} from './connection-facts.ts'
import { CONNECT_AGAIN } from './cause-entry.ts'
import { whyClosed, type GateDecision, type GateName } from './gates.ts'
import type { Micros } from './ids.ts'
import { illSummary } from './ill-words.ts'
import { isoOf } from './instant.ts'

const STALE_AFTER_MINUTES = STALE_AFTER_MS / 60_000

/** https://developers.google.com/identity/protocols/oauth2#expiration */
const IN_TESTING =
  'At Google, grants of a project in testing end after 7 days; publish the project (Google Auth Platform, Audience) and they last.'

/** `gate`: whether its sync may run at the moment. Not in order. */
export function causesOfConnection(connection: ConnectionFacts, gate: GateDecision): readonly Cause[] {
  const { status } = connection
  if (status !== 'active') return [inactiveCause(status, connection)]
  const found = [...gateCauses(gate), ...failureCauses(connection), ...grantCauses(connection)]
  const isStopped = found.some(({ effect }) => effect !== 'warns')
  if (isStopped) return [...found, ...illCauses(connection)]
  const { lastSyncedAt, connectedAt, now } = connection
  // A first read that does not end is as late as any other.
  const isLate = isLongAgo(lastSyncedAt ?? connectedAt, now)
  return [
    ...found,
    ...(isLate ? [lateCause(connection)] : progressCauses(connection)),
    ...illCauses(connection),
  ]
}

function progressCauses({
  lastSyncedAt,
  connectedAt,
  isHeld,
  heldSince = null,
  syncNeeded,
}: ConnectionFacts): readonly Cause[] {
  if (lastSyncedAt === null) return [causeOf('first_read', { since: connectedAt })]
  const text = `There is more to read than was read. Last in sync at ${isoOf(lastSyncedAt)}.`
  if (isHeld) return [causeOf('held_request', { text, since: heldSince })]
  return syncNeeded ? [causeOf('catching_up', { text, since: lastSyncedAt })] : []
}

function illCauses({ illCalendars, illCount, now }: ConnectionFacts): readonly Cause[] {
  if (illCount === 0) return []
  const tries = illCalendars.flatMap(({ nextTryAt }) => (isAhead(nextTryAt, now) ? [nextTryAt] : []))
  const until = tries.length === 0 ? null : Math.min(...tries)
  const when = until === null ? '' : ` The next try is at ${isoOf(until)}.`
  return [
    causeOf('calendar_ill', {
      text: illSummary(illCalendars, illCount),
      since: illCalendars[0]?.since ?? null,
      until,
      next: `It is tried again automatically, at least once an hour.${when}`,
    }),
  ]
}

function lateCause({ lastSyncedAt, connectedAt }: ConnectionFacts): Cause {
  const since =
    lastSyncedAt === null
      ? `Connected at ${isoOf(connectedAt)} and not read to the end since`
      : `Last in sync at ${isoOf(lastSyncedAt)}`
  return causeOf('late', {
    text: `${since}, more than ${STALE_AFTER_MINUTES} minutes ago.`,
    since: lastSyncedAt ?? connectedAt,
  })
}

const OF_GATE: Readonly<Record<GateName, CauseCode>> = {
  CALENDAR_SYNC_ENABLED: 'sync_switched_off',
  CALENDAR_ALLOWLIST_PROVIDER_IDS: 'provider_not_allowed',
  CALENDAR_ALLOWLIST_CONNECTION_IDS: 'connection_not_allowed',
  CALENDAR_JOBS_ENABLED: 'jobs_switched_off',
  CALENDAR_WEBHOOK_ENABLED: 'webhooks_switched_off',
  CALENDAR_OAUTH_ENABLED: 'connecting_switched_off',
}

function gateCauses(gate: GateDecision): readonly Cause[] {
  if (gate.state === 'on') return []
  if (gate.state === 'unknown') {
    const text =
      'Not synced at the moment: whether it may be is not known, since the flag server does not answer.'
    return [causeOf('gates_unknown', { text })]
  }
  const code = gate.isCapped === true ? 'capped_by_environment' : OF_GATE[gate.gate]
  return [causeOf(code, { text: `Not synced at the moment: ${gate.text}.`, action: whyClosed(gate) })]
}

/** The causes of failures that are not just a pause (`backing_off`). */
export const CAUSE_OF_FAILURE: Readonly<Record<string, CauseCode>> = {
  'vendor/throttled': 'throttled',
  'vendor/quota-exhausted': 'throttled',
  'vendor/budget-spent': 'budget_spent',
  'vendor/circuit-open': 'vendor_left_alone',
  'vendor/recovering': 'vendor_left_alone',
  'vendor/refusing-all': 'vendor_left_alone',
  'vendor/client-rejected': 'app_refused',
  'vendor/no-mailbox': 'no_mailbox',
  'vendor/rejected': 'fault_of_ours',
  'credentials/unreadable': 'credentials_unreadable',
  'store/rejected-data': 'fault_of_ours',
  'sync/unfinished': 'fault_of_ours',
  'internal/defect': 'fault_of_ours',
}

function failureCauses({
  lastError,
  backoffUntil,
  failingSince = null,
  now,
}: ConnectionFacts): readonly Cause[] {
  const until = isAhead(backoffUntil, now) ? backoffUntil : null
  if (lastError === null && until === null) return []
  const when = until === null ? '' : ` The next try is at ${isoOf(until)}.`
  return [
    causeOf(CAUSE_OF_FAILURE[lastError?.code ?? ''] ?? 'backing_off', {
      text: `The last sync failed: ${lastError?.message ?? 'it is tried again after a pause.'}`,
      since: failingSince,
      until,
      next: `It is tried again automatically.${when}`,
    }),
  ]
}

function grantCauses({ grantEndsAt = null, now }: ConnectionFacts): readonly Cause[] {
  if (!isAhead(grantEndsAt, now) || grantEndsAt - now > GRANT_WARN_MS * 1000) return []
  const ends = `This grant ends at ${isoOf(grantEndsAt)}`
  const action = `${ends}: the person has to connect the account again before then. ${IN_TESTING}`
  return [causeOf('grant_ends_soon', { text: `${ends}.`, until: grantEndsAt, action })]
}

function inactiveCause(status: Exclude<ConnectionStatus, 'active'>, connection: ConnectionFacts): Cause {
  switch (status) {
    case 'needs_reauth':
      return parkedCause(connection)
    case 'disabled':
      return pausedCause(connection)
    case 'disconnected':
      return causeOf('disconnected', {
        text: 'The account was disconnected and its events are removed.',
        since: connection.disconnectedAt ?? null,
        next: '',
      })
    default:
      return status satisfies never
  }
}

function pausedCause({ pausedAt = null }: ConnectionFacts): Cause {
  const since = pausedAt === null ? '' : ` at ${isoOf(pausedAt)}`
  const text = `An operator paused this connection${since}. Its events are kept and grow stale.`
  return causeOf('paused_by_operator', { text, since: pausedAt })
}

/** The causes of refusals that have one of their own. */
export const CAUSE_OF_REFUSAL: Readonly<Record<string, CauseCode>> = {
  'vendor/access-denied': 'access_denied',
  'vendor/no-offline-access': 'access_denied',
  'vendor/admin-required': 'admin_required',
}

/** Who can mend it, and whether it continues then. */
function parkedCause(connection: ConnectionFacts): Cause {
  const { lastError, probeAt = null, parkedAt = null, now } = connection
  const text = lastError?.message ?? 'The account no longer lets us in.'
  const until = isAhead(probeAt, now) ? probeAt : null
  const told = { text, since: parkedAt, until }
  const code = CAUSE_OF_REFUSAL[lastError?.code ?? '']
  const ended = endedGrant(connection)
  if (probeAt === null) {
    const action = [CONNECT_AGAIN, ended].filter(Boolean).join(' ')
    return causeOf(code ?? 'grant_revoked', { ...told, next: '', action })
  }
  const when = until === null ? '' : ` It is asked about next at ${isoOf(until)}.`
  if (code === 'admin_required') {
    const action = 'An administrator of the organization has to act.'
    const next = `When they have, it continues automatically.${when} Sooner: ask for a connect link with this connection_id.`
    return causeOf(code, { ...told, next, action })
  }
  const next = `It continues automatically when the vendor lets it in again.${when}`
  return causeOf(code ?? 'account_refused', { ...told, next })
}

/** A refused grant whose named end has passed ended of that, and so will the next one. */
function endedGrant({ lastError, grantEndsAt = null, now }: ConnectionFacts): string {
  if (grantEndsAt === null || grantEndsAt > now || lastError?.code !== 'vendor/grant-revoked') return ''
  return `The grant was good until ${isoOf(grantEndsAt)} and no longer. ${IN_TESTING}`
}

function isLongAgo(at: Micros, now: Micros): boolean {
  return at < now - STALE_AFTER_MS * 1000
}

function isAhead(at: Micros | null, now: Micros): at is Micros {
  return at !== null && at > now
}
