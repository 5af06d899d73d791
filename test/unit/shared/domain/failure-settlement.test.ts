// The one decision about failures: what follows from each code, and that somebody acts on it.
import { globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Failure, FAILURE_CODES, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf, type FailureAction, type Settlement } from '#shared/domain/failure-settlement.ts'
import { settleBatch } from '../../../../services/relay/settle-batch.ts'
import { settleJob } from '../../../../services/scheduler/settle-job.ts'
import { settleUnit } from '../../../../services/sync/unit/fail.ts'

const CODES = Object.keys(FAILURE_CODES) as FailureCode[]

const CODES_OF = {
  retry: [
    'vendor/unavailable',
    'vendor/timeout',
    'vendor/unreadable-answer',
    'vendor/throttled',
    'vendor/quota-exhausted',
    'vendor/budget-spent',
    'vendor/circuit-open',
    'vendor/recovering',
    'vendor/token-rejected',
    'vendor/refusing-all',
    'vendor/client-rejected',
    'vendor/calendar-unknown',
    'vendor/cursor-expired-again',
    'vendor/no-progress',
    'vendor/not-yet-readable',
    'vendor/callback-refused',
    'store/contention',
    'sync/gave-way',
    'sync/no-room',
  ],
  'retry-refused': ['vendor/call-refused'],
  'retry-fault': [
    'vendor/answer-too-large',
    'vendor/rejected',
    'store/rejected-data',
    'credentials/unreadable',
    'sync/unfinished',
    'internal/defect',
  ],
  judge: ['vendor/account-refused', 'vendor/no-mailbox', 'vendor/token-refused'],
  park: ['vendor/grant-revoked', 'vendor/access-denied', 'vendor/admin-required', 'vendor/no-offline-access'],
  'check-list': ['vendor/calendar-gone'],
  'dead-letter': ['kafka/rejected', 'message/unreadable'],
  abandon: ['store/outcome-unknown', 'store/fence-lost'],
  'drop-shard': ['kafka/fenced'],
  wait: [
    'store/unavailable',
    'store/certificate-refused',
    'store/login-refused',
    'store/read-only',
    'store/disk-full',
    'store/schema-newer',
    'kafka/unavailable',
    'kafka/certificate-refused',
    'kafka/login-refused',
    'kafka/right-missing',
    'registry/unavailable',
    'registry/certificate-refused',
    'registry/login-refused',
    'registry/right-missing',
  ],
} satisfies Record<FailureAction, readonly [FailureCode, ...FailureCode[]]>

const ACTIONS = Object.keys(CODES_OF) as FailureAction[]

describe('what follows', () => {
  test.each(Object.entries(CODES_OF))('is %s for just these codes', (action, codes) => {
    expect(codesWith((settlement) => settlement.action === action)).toEqual(codes.toSorted())
  })

  test('is the trouble of one calendar, met while it is read, unless all would meet it', () => {
    const own = [
      'vendor/unavailable',
      'vendor/timeout',
      'vendor/unreadable-answer',
      'vendor/answer-too-large',
      'vendor/token-rejected',
      'vendor/access-denied',
      'vendor/call-refused',
      'vendor/calendar-gone',
      'vendor/calendar-unknown',
      'vendor/rejected',
      'vendor/cursor-expired-again',
      'vendor/no-progress',
      'vendor/not-yet-readable',
      'vendor/callback-refused',
      'store/rejected-data',
      'kafka/rejected',
      'message/unreadable',
      'sync/unfinished',
      'sync/gave-way',
      'internal/defect',
    ]
    expect(codesWith(({ isOfCalendar }) => isOfCalendar)).toEqual(own.toSorted())
  })

  test('counts towards the dead letter unless it was throttled, ours, or may be everybody’s', () => {
    const uncounted = [
      'vendor/throttled',
      'vendor/quota-exhausted',
      'vendor/budget-spent',
      'vendor/circuit-open',
      'vendor/recovering',
      'vendor/refusing-all',
      'vendor/client-rejected',
      'kafka/fenced',
      'sync/gave-way',
      'sync/no-room',
      ...CODES_OF.judge,
      ...CODES_OF.wait,
    ]
    expect(codesWith(({ countsAsAttempt }) => !countsAsAttempt)).toEqual(uncounted.toSorted())
  })

  test('waits longer each time unless we kept the call back, and spread where the vendor throttled', () => {
    expect(codesWith(({ growsBackoff }) => !growsBackoff)).toEqual([
      'vendor/recovering',
      'vendor/refusing-all',
    ])
    expect(codesWith(({ isThrottledByVendor }) => isThrottledByVendor)).toEqual([
      'vendor/quota-exhausted',
      'vendor/throttled',
    ])
  })
})

describe('who acts on it', () => {
  const TABLE = {
    retry: ['record', 'throw', 'later'],
    'retry-refused': ['record', 'throw', 'refused'],
    'retry-fault': ['record', 'throw', 'rarely'],
    judge: ['judge', 'throw', 'refused'],
    park: ['judge', 'throw', 'locked-out'],
    'check-list': ['record', 'throw', 'gone'],
    'dead-letter': ['record', 'narrow', 'rarely'],
    abandon: ['abandon', 'throw', 'rarely'],
    'drop-shard': ['abandon', 'lost', 'throw'],
    wait: ['wait', 'throw', 'throw'],
  } satisfies Record<FailureAction, readonly [unit: string, relay: string, job: string]>

  test.each(CODES)('the unit, the relay and the job that meet %s do what its action says', (code) => {
    const failure = new Failure(code)
    expect([settleUnit(failure), settleBatch(failure), jobSettles(failure)]).toEqual(
      TABLE[settlementOf(failure).action],
    )
  })

  test('no two actions are met alike by all three, so each is there because somebody acts on it', () => {
    expect(new Set(ACTIONS.map((action) => TABLE[action].join(' '))).size).toBe(ACTIONS.length)
  })
})

const ROOT = new URL('../../../../services/', import.meta.url)

/** They ask what happened, to find out what the failure is; none of them decides what follows. */
const ASK_WHAT_HAPPENED = [
  // Whether a line in the log is an error.
  'sync/unit/fail.ts',
  // Whether the calendar or the account is refused is not known yet.
  // Whether a place of a run is dead.
  'sync/unit/leave-place.ts',
  'sync/unit/page-of-run.ts',
  'sync/unit/sync-connection.ts',
]

test('no other place of a unit, a relay or a job looks at the kind or scope of a failure', () => {
  const kinds = 'transient|throttled|unauthorized|refused|conflict|invalid|defect'
  const asks = new RegExp(
    `kind [!=]== '(?:${kinds})'|scope [!=]== '(?:message|calendar|connection|vendor|process)'`,
  )
  const files = globSync('{sync,relay,scheduler}/**/*.ts', { cwd: ROOT })
  expect(files.length).toBeGreaterThan(50)
  const asking = files.filter((file) => asks.test(readFileSync(new URL(file, ROOT), 'utf8')))
  expect(asking.toSorted()).toEqual(ASK_WHAT_HAPPENED)
})

function codesWith(is: (settlement: Settlement) => boolean): readonly FailureCode[] {
  return CODES.filter((code) => is(settlementOf({ code }))).toSorted()
}

function jobSettles(failure: Failure): string {
  try {
    return settleJob(failure)
  } catch (error) {
    expect(error).toBe(failure)
    return 'throw'
  }
}
