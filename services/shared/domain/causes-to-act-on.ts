// The causes that a person can act on, in the order of their rank: what others stand on comes
// first. Pure.
import { CATCHES_UP, CONNECT_AGAIN, of, TRIED_AGAIN, type CauseEntry, type Effect } from './cause-entry.ts'
import type { StateName } from './connection-facts.ts'

const STANDS = 'Nothing happens until then; its events are kept and grow stale.'

function down(effect: Effect, state: StateName | null, service: string): CauseEntry {
  return of(
    ['operator', effect, state, 'stays'],
    [
      `No process of the service ${service} is alive.`,
      CATCHES_UP,
      `An operator looks at its log and starts ${service} again (calstream doctor).`,
    ],
  )
}

function away(what: string, remedy: string): CauseEntry {
  const next = `Work continues automatically when it answers. ${CATCHES_UP}`
  return of(['operator', 'stops', 'unknown', 'heals'], [`${what} does not answer.`, next, remedy])
}

function closed(means: string): CauseEntry {
  return of(['operator', 'stops', 'paused', 'stays'], [means, CATCHES_UP, 'An operator opens it.'])
}

export const CAUSES_TO_ACT_ON = {
  disconnected: of(
    ['app', 'stops', 'disconnected', 'stays'],
    [
      'The account was disconnected.',
      'Its events are removed.',
      'To sync it again, connect it again with a connect link.',
    ],
  ),
  paused_by_operator: of(
    ['operator', 'stops', 'disabled', 'stays'],
    ['An operator paused the connection.', CATCHES_UP, 'Ask the operator to resume it.'],
  ),
  grant_revoked: of(
    ['owner', 'stops', 'needs_reauth', 'stays'],
    ['The vendor says that the grant is gone: the person took it back, or it ended.', STANDS, CONNECT_AGAIN],
  ),
  access_denied: of(
    ['owner', 'stops', 'needs_reauth', 'stays'],
    ['The account does not grant what the sync needs.', STANDS, CONNECT_AGAIN],
  ),
  admin_required: of(
    ['owner', 'stops', 'needs_reauth', 'stays'],
    [
      'The organization of the account does not let us in.',
      'When they have, it continues automatically.',
      'An administrator of the organization has to act.',
    ],
  ),
  account_refused: of(
    ['owner', 'stops', 'needs_reauth', 'heals'],
    [
      'The vendor refused everything of the account for long, without a documented reason, so it waits.',
      'It continues automatically when the vendor lets it in again.',
      `If it does not: ${CONNECT_AGAIN.charAt(0).toLowerCase()}${CONNECT_AGAIN.slice(1)}`,
    ],
  ),
  database_away: away(
    'The database',
    'An operator starts Postgres or corrects POSTGRES_URL (calstream doctor).',
  ),
  kafka_away: away('Kafka', 'An operator starts the broker or corrects KAFKA_BROKERS (calstream doctor).'),
  registry_away: away(
    'The schema registry, which a service needs that has started since,',
    'An operator starts the schema registry or corrects SCHEMA_REGISTRY_URL (calstream doctor).',
  ),
  gates_unknown: of(
    ['operator', 'stops', 'unknown', 'heals'],
    [
      'The flag server does not answer, so no gate is known and nothing runs.',
      CATCHES_UP,
      'An operator looks after the flag server (calstream doctor).',
    ],
  ),
  sync_down: down('stops', 'unknown', 'sync'),
  partition_unowned: of(
    ['operator', 'stops', 'unknown', 'stays'],
    [
      'No sync process owns the partition of its sync requests.',
      'A sync takes it over at the next rebalance. What rang meanwhile is worked then.',
      'An operator looks whether every sync is a member of its group (calstream doctor).',
    ],
  ),
  partition_blocked: of(
    ['operator', 'stops', 'unknown', 'stays'],
    [
      'A record ahead of its sync requests cannot be worked and cannot be given up either.',
      'The record is tried again automatically; what stands behind it waits.',
      'An operator looks at the log of sync and at the dead-letter topic (calstream dead-letters list).',
    ],
  ),
  sync_switched_off: closed('CALENDAR_SYNC_ENABLED is off.'),
  provider_not_allowed: closed('The provider is not on CALENDAR_ALLOWLIST_PROVIDER_IDS.'),
  connection_not_allowed: closed('The connection is not on CALENDAR_ALLOWLIST_CONNECTION_IDS.'),
  capped_by_environment: closed('A variable of the services keeps a gate closed, whatever its toggle says.'),
  sync_ill: of(
    ['operator', 'stops', 'unknown', 'heals'],
    [
      'The service sync is alive and says that it cannot work.',
      `It continues automatically when it can. ${CATCHES_UP}`,
      'An operator looks at its log (calstream doctor).',
    ],
  ),
  relay_down: down('delays', 'catching_up', 'relay'),
  scheduler_down: down('delays', 'catching_up', 'scheduler'),
  ingress_down: down('delays', 'catching_up', 'ingress'),
  retry_down: down('warns', null, 'retry'),
  service_ill: of(
    ['operator', 'delays', 'catching_up', 'heals'],
    [
      'Another service is alive and says that it cannot work.',
      `It continues automatically when it can. ${CATCHES_UP}`,
      'An operator looks at its log (calstream doctor).',
    ],
  ),
  webhooks_switched_off: of(
    ['operator', 'delays', null, 'stays'],
    [
      'CALENDAR_WEBHOOK_ENABLED is off: notifications are refused and kept.',
      'They are rung for when the gate opens; the reconcile finds changes meanwhile.',
      'An operator opens it (calstream gates open CALENDAR_WEBHOOK_ENABLED).',
    ],
  ),
  jobs_switched_off: of(
    ['operator', 'delays', null, 'stays'],
    [
      'CALENDAR_JOBS_ENABLED is off: nothing is reconciled, swept or renewed.',
      CATCHES_UP,
      'An operator opens it (calstream gates open CALENDAR_JOBS_ENABLED).',
    ],
  ),
  connecting_switched_off: of(
    ['operator', 'warns', null, 'stays'],
    [
      'The account has to be connected again, and CALENDAR_OAUTH_ENABLED is off.',
      'No account is connected until it opens.',
      'An operator opens it (calstream gates open CALENDAR_OAUTH_ENABLED).',
    ],
  ),
  app_refused: of(
    ['operator', 'stops', 'retrying', 'heals'],
    [
      'The vendor refuses our app there: its id or secret, or an API that is switched off.',
      TRIED_AGAIN,
      'An operator corrects the app at the vendor; no person has to connect again.',
    ],
  ),
  credentials_unreadable: of(
    ['operator', 'stops', 'retrying', 'heals'],
    [
      'The stored credentials do not open with the keys of this installation.',
      TRIED_AGAIN,
      'An operator checks CREDENTIALS_KEYS.',
    ],
  ),
  fault_of_ours: of(
    ['operator', 'stops', 'retrying', 'heals'],
    ['A fault of calstream.', TRIED_AGAIN, 'An operator reports it with the log lines of its trace id.'],
  ),
  budget_spent: of(
    ['operator', 'delays', 'retrying', 'heals'],
    [
      'Our own share of calls for this minute is used up.',
      TRIED_AGAIN,
      'An operator raises the CALLS_PER_MINUTE settings if the vendor allows more.',
    ],
  ),
  no_mailbox: of(
    ['owner', 'stops', 'retrying', 'heals'],
    [
      'The vendor says that the account has no calendar at the moment: no licence, or suspended.',
      TRIED_AGAIN,
      'An administrator of the account can change that.',
    ],
  ),
  late: of(
    ['operator', 'stops', 'late', 'stays'],
    [
      'It was not in sync for half an hour, and no other cause explains it.',
      'The reconcile and the sweep ask for it again.',
      'If it stays so, an operator looks whether sync and scheduler run (calstream doctor).',
    ],
  ),
  outbox_behind: of(
    ['operator', 'delays', 'catching_up', 'heals'],
    [
      'Its changes are stored, and wait to be published for longer than they should.',
      'They are published automatically, in order.',
      'An operator looks whether the relay runs and Kafka answers (calstream doctor).',
    ],
  ),
  calendar_not_listed: of(
    ['owner', 'delays', null, 'stays'],
    [
      'The vendor does not list a calendar any more.',
      'Its events are kept until a later list agrees; then they are removed.',
      'The person looks whether it is still shared with the account.',
    ],
  ),
} as const satisfies Readonly<Record<string, CauseEntry>>
