// Why a connection is not up to date: every cause of the list is reached by facts, the one that a
// person can act on comes first, and nothing that stands still is ever called up to date.
import { readFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { isHarmless } from '#shared/domain/cause.ts'
import { CAUSE_CODES, entryOf, type CauseCode } from '#shared/domain/causes.ts'
import { SERVICE_NAMES, type Installation, type Place } from '#shared/domain/causes-of-installation.ts'
import type { CalendarWhyFacts } from '#shared/domain/causes-of-calendar.ts'
import { STALE_AFTER_MS, type ConnectionFacts } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import { cappedBy, closedBy, type GateDecision } from '#shared/domain/gates.ts'
import { calendarId } from '#shared/domain/ids.ts'
import { whyOfCalendar, whyOfConnection, type Why, type WhyFacts } from '#shared/domain/why.ts'
import { NO_FACTS, type InstanceFacts, type ServiceInstance } from '#shared/domain/service-instances.ts'
import { whyPage } from '#shared/domain/why-page.ts'
import { openApi } from '../../../support/openapi.ts'

const NOW = Date.parse('2026-05-04T12:00:00Z') * 1000
const MINUTE = 60_000_000
const ON: GateDecision = { state: 'on' }
const UNKNOWN: GateDecision = { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' }
const HERE = { topic: 'calendar.sync.requested.google.v1', partition: 3 }

const CONNECTION: ConnectionFacts = {
  status: 'active',
  syncNeeded: false,
  connectedAt: NOW - 1000 * MINUTE,
  lastSyncedAt: NOW - MINUTE,
  lastError: null,
  backoffUntil: null,
  isHeld: false,
  illCalendars: [],
  illCount: 0,
  now: NOW,
}
const CALENDAR: CalendarWhyFacts = {
  id: calendarId(randomUUID()),
  name: 'Work',
  selected: true,
  removalReason: null,
  lastReadAt: NOW - MINUTE,
  lastFullReadAt: NOW - 1000 * MINUTE,
  coolDownUntil: null,
  missingSince: null,
  readNeeded: false,
  ill: null,
}
const PLACE: Place = { vendor: 'google', partition: HERE, outboxSince: null, now: NOW }

type Told = Partial<Omit<ServiceInstance, 'facts'>> & { readonly facts?: Partial<InstanceFacts> }

function processOf(service: string, { facts, ...change }: Told = {}): ServiceInstance {
  const own = service === 'sync' ? { partitions: [HERE], partitionCounts: { [HERE.topic]: 4 } } : {}
  return {
    instance: randomUUID(),
    service,
    version: '1.0.0',
    host: 'here',
    pid: 1,
    startedAt: NOW - 100 * MINUTE,
    isLive: true,
    isReady: true,
    seenAt: NOW,
    problems: {},
    ...change,
    facts: { ...NO_FACTS, ...own, ...facts },
  }
}

/** All services live, but for what is changed of them; a null takes a service away. */
function running(change: Readonly<Record<string, Told | null>> = {}): readonly ServiceInstance[] {
  return SERVICE_NAMES.flatMap((name) => (change[name] === null ? [] : [processOf(name, change[name] ?? {})]))
}

interface Change {
  readonly connection?: Partial<ConnectionFacts>
  readonly calendar?: Partial<CalendarWhyFacts>
  readonly installation?: Partial<Installation>
  readonly place?: Partial<Place>
  readonly gate?: GateDecision
  readonly calendars?: readonly CalendarWhyFacts[]
}

function factsOf({ connection, calendar, installation, place, gate = ON, calendars }: Change): WhyFacts {
  return {
    connection: { ...CONNECTION, ...connection },
    gate,
    calendars: calendars ?? [{ ...CALENDAR, ...calendar }],
    installation: { processes: running(), ...installation },
    place: { ...PLACE, ...place },
  }
}

const codesOf = ({ causes }: Why) => causes.map(({ code }) => code)
const parked = (code: string, probeAt: number | null = null) => {
  return { status: 'needs_reauth', lastError: { code, message: 'Refused.' }, probeAt } as const
}
const failed = (code: string) => {
  return {
    lastError: { code, message: 'Google answered 503 (backendError).' },
    backoffUntil: NOW + MINUTE,
  } as const
}
const lost = { isLive: false, seenAt: NOW - MINUTE } as const
const ILL = {
  since: NOW - MINUTE,
  code: 'vendor/unavailable',
  message: 'Google answered 500 x.',
  nextTryAt: NOW + MINUTE,
}

/** What makes each cause the first. */
const CASES: Readonly<Record<CauseCode, Change>> = {
  disconnected: { connection: { status: 'disconnected', disconnectedAt: NOW } },
  paused_by_operator: { connection: { status: 'disabled', pausedAt: NOW - MINUTE, pausedBy: 'ann' } },
  grant_revoked: { connection: parked('vendor/grant-revoked') },
  access_denied: { connection: parked('vendor/access-denied') },
  admin_required: { connection: parked('vendor/admin-required', NOW + MINUTE) },
  account_refused: { connection: parked('vendor/account-refused', NOW + MINUTE) },
  database_away: { installation: { away: { postgres: 'connection refused' } } },
  kafka_away: {
    installation: {
      processes: running({ sync: { isReady: false, problems: { kafka: 'no broker answers' } } }),
    },
  },
  registry_away: {
    installation: { processes: running({ relay: { isReady: false, problems: { registry: 'no answer' } } }) },
  },
  gates_unknown: { gate: UNKNOWN },
  sync_down: { installation: { processes: running({ sync: lost }) } },
  partition_unowned: {
    installation: { processes: running({ sync: { facts: { partitions: [{ ...HERE, partition: 2 }] } } }) },
  },
  partition_blocked: {
    installation: {
      processes: running({
        sync: {
          facts: { blocked: [{ ...HERE, offset: '7', since: NOW - MINUTE, problem: 'it cannot be read' }] },
        },
      }),
    },
  },
  sync_switched_off: { gate: closedBy('CALENDAR_SYNC_ENABLED') },
  provider_not_allowed: { gate: closedBy('CALENDAR_ALLOWLIST_PROVIDER_IDS') },
  connection_not_allowed: { gate: closedBy('CALENDAR_ALLOWLIST_CONNECTION_IDS') },
  capped_by_environment: { gate: cappedBy('CALENDAR_SYNC_ENABLED') },
  sync_ill: {
    installation: {
      processes: running({ sync: { isReady: false, problems: { work: 'its consumer stands still' } } }),
    },
  },
  service_ill: {
    installation: {
      processes: running({ ingress: { isReady: false, problems: { tables: 'one is missing' } } }),
    },
  },
  relay_down: { installation: { processes: running({ relay: null }) } },
  scheduler_down: { installation: { processes: running({ scheduler: lost }) } },
  ingress_down: { installation: { processes: running({ ingress: lost }) } },
  retry_down: { installation: { processes: running({ retry: null }) } },
  webhooks_switched_off: { installation: { webhook: closedBy('CALENDAR_WEBHOOK_ENABLED') } },
  jobs_switched_off: { installation: { jobs: closedBy('CALENDAR_JOBS_ENABLED') } },
  // Never the first: the account that has to be connected again is.
  connecting_switched_off: {
    connection: parked('vendor/grant-revoked'),
    installation: { oauth: closedBy('CALENDAR_OAUTH_ENABLED') },
  },
  app_refused: { connection: failed('vendor/client-rejected') },
  credentials_unreadable: { connection: failed('credentials/unreadable') },
  fault_of_ours: { connection: failed('internal/defect') },
  budget_spent: { connection: failed('vendor/budget-spent') },
  no_mailbox: { connection: failed('vendor/no-mailbox') },
  late: { connection: { lastSyncedAt: NOW - STALE_AFTER_MS * 1000 - 1 } },
  outbox_behind: { place: { outboxSince: NOW - MINUTE } },
  calendar_not_listed: { calendar: { missingSince: NOW - MINUTE } },
  vendor_left_alone: {
    installation: {
      processes: running({
        sync: { facts: { breakers: [{ vendor: 'google', part: 'api', until: NOW + MINUTE }] } },
      }),
    },
  },
  throttled: { connection: failed('vendor/throttled') },
  backing_off: { connection: failed('vendor/unavailable') },
  calendar_ill: {
    connection: { illCount: 1, illCalendars: [{ id: CALENDAR.id, name: 'Work', ...ILL }] },
    calendar: { ill: ILL, readNeeded: true },
  },
  held_mass_delete: { calendar: { isDeleteHeld: true } },
  plain_listing: { calendar: { plain: { usualFrom: NOW + MINUTE } } },
  cooling_down: { calendar: { coolDownUntil: NOW + MINUTE, readNeeded: true } },
  first_read: {
    connection: { lastSyncedAt: null, connectedAt: NOW - MINUTE },
    calendar: { lastReadAt: null },
  },
  held_request: { connection: { isHeld: true } },
  catching_up: { connection: { syncNeeded: true } },
  calendar_left_out: { calendar: { selected: false } },
  grant_ends_soon: { connection: { grantEndsAt: NOW + 1440 * MINUTE } },
  no_calendar_selected: { calendars: [] },
  channel_failing: { calendar: { push: { kind: 'failing', attempts: 2, retryAt: NOW + MINUTE } } },
  channel_silent: { calendar: { push: { kind: 'silent', finds: 3 } } },
  no_push: { calendar: { push: { kind: 'none' } } },
}
/** Told beside another, or of a calendar alone. */
const NEVER_FIRST: ReadonlySet<CauseCode> = new Set(['connecting_switched_off', 'calendar_left_out'])

describe('the list of causes', () => {
  test('is told by the page: `npm run gen` would change nothing', () => {
    const page = readFileSync(new URL('../../../../docs/why.md', import.meta.url), 'utf8')
    expect(page).toBe(whyPage())
    for (const code of CAUSE_CODES) expect(page).toContain(`| \`${code}\` |`)
  })

  test('is the one of the interface', () => {
    const { Cause: schema } = openApi.components['schemas'] ?? {}
    expect(schema).toMatchObject({ properties: { code: { enum: CAUSE_CODES } } })
  })

  test('ranks what a person can act on before the rest, and what only warns of no delay last', () => {
    const isActable = (code: CauseCode) => ['owner', 'app', 'operator'].includes(entryOf(code).actor)
    const harming = CAUSE_CODES.filter(
      (code) => entryOf(code).effect !== 'warns' && code !== 'calendar_left_out',
    )
    const firstPassing = harming.findIndex((code) => !isActable(code))
    expect(firstPassing).toBeGreaterThan(25)
    expect(harming.slice(firstPassing).filter(isActable)).toEqual([])
  })

  test.each(CAUSE_CODES)('says of %s in whole sentences what is so, what happens and who acts', (code) => {
    const { means, next, action, actor } = entryOf(code)
    expect(means).toMatch(/^[A-Z].*\.$/)
    for (const text of [next, action]) if (text !== '') expect(text).toMatch(/^[A-Z].*[.)]$/)
    // Who can do something is told what.
    if (['owner', 'app', 'operator'].includes(actor)) expect(action).not.toBe('')
  })
})

describe('a connection', () => {
  test('without a cause is up to date as of the calendar that was read longest ago (control)', () => {
    const older = { ...CALENDAR, id: calendarId(randomUUID()), lastReadAt: NOW - 5 * MINUTE }
    expect(whyOfConnection(factsOf({ calendars: [CALENDAR, older] }))).toEqual({
      isUpToDate: true,
      upToDateAsOf: NOW - 5 * MINUTE,
      causes: [],
    })
  })

  test.each(Object.entries(CASES) as [CauseCode, Change][])('is told why: %s', (code, change) => {
    const facts = factsOf(change)
    const why = code === 'calendar_left_out' ? whyOfCalendar(facts, CALENDAR.id) : whyOfConnection(facts)
    const codes = why === null ? [] : codesOf(why)
    expect(codes).toContain(code)
    if (!NEVER_FIRST.has(code)) expect(codes[0]).toBe(code)
    const found = why?.causes.find((cause) => cause.code === code)
    expect(found?.text).toMatch(/^["A-Z].*[.]$/)
    expect(found?.actor).toBe(entryOf(code).actor)
    if (code !== 'no_calendar_selected' && entryOf(code).effect !== 'warns')
      expect(why?.isUpToDate).toBe(false)
  })

  test('with several causes has all of them, and the one that a person can act on comes first', () => {
    const why = whyOfConnection(
      factsOf({
        connection: { ...failed('vendor/unavailable'), syncNeeded: true, grantEndsAt: NOW + MINUTE },
        installation: { processes: running({ relay: lost }) },
        gate: closedBy('CALENDAR_SYNC_ENABLED'),
        place: { outboxSince: NOW - MINUTE },
      }),
    )
    expect(codesOf(why)).toEqual([
      'sync_switched_off',
      'relay_down',
      'outbox_behind',
      'backing_off',
      'grant_ends_soon',
    ])
    expect(why.causes[3]?.text).toContain('Google answered 503 (backendError).')
  })

  test('that is late has that cause where nothing explains it, and not where something does', () => {
    const late = { lastSyncedAt: NOW - 60 * MINUTE }
    expect(codesOf(whyOfConnection(factsOf({ connection: late })))[0]).toBe('late')
    const explained = factsOf({ connection: late, installation: { processes: running({ sync: lost }) } })
    expect(codesOf(whyOfConnection(explained))).toEqual(['sync_down'])
  })

  test('is told nothing of services where nothing is known of any', () => {
    expect(whyOfConnection(factsOf({ installation: { processes: null } })).isUpToDate).toBe(true)
  })

  test('is told once of a dependency that several processes miss, and of an unready service by its own words', () => {
    const problems = { kafka: 'no broker answers' }
    const ill = { isReady: false, problems }
    const why = whyOfConnection(
      factsOf({ installation: { processes: running({ sync: ill, relay: ill, ingress: ill }) } }),
    )
    expect(codesOf(why)).toEqual(['kafka_away'])
    expect(why.causes[0]?.text).toContain('no broker answers.')
  })

  test('is served by one process of several that is ready, and does not hear of one that starts', () => {
    const ill = { isReady: false, problems: { kafka: 'no broker answers' } }
    const starting = {
      isReady: false,
      problems: { start: 'it is still starting' },
      startedAt: NOW - MINUTE + 1,
    }
    const others = [processOf('sync', lost), processOf('relay', lost), processOf('sync', ill)]
    const processes = [...running({ scheduler: starting }), ...others]
    expect(whyOfConnection(factsOf({ installation: { processes } })).causes).toEqual([])
    const tooLong = running({ scheduler: { ...starting, startedAt: NOW - MINUTE } })
    expect(codesOf(whyOfConnection(factsOf({ installation: { processes: tooLong } })))).toEqual([
      'service_ill',
    ])
  })
})

describe('a calendar', () => {
  test('has the causes of its connection and its own, and not those of its siblings', () => {
    const ill = { ...CALENDAR, id: calendarId(randomUUID()), name: 'Team', ill: ILL, readNeeded: true }
    const facts = factsOf({
      connection: { illCount: 1, illCalendars: [{ id: ill.id, name: 'Team', ...ILL }] },
      calendars: [CALENDAR, ill],
    })
    expect(whyOfCalendar(facts, CALENDAR.id)).toMatchObject({ isUpToDate: true, causes: [] })
    expect(whyOfCalendar(facts, ill.id)?.causes.map(({ code }) => code)).toEqual(['calendar_ill'])
    const closed = { ...facts, gate: closedBy('CALENDAR_SYNC_ENABLED') }
    expect(whyOfCalendar(closed, CALENDAR.id)?.causes.map(({ code }) => code)).toEqual(['sync_switched_off'])
    expect(whyOfCalendar(facts, calendarId(randomUUID()))).toBeNull()
  })

  test('that was not read for half an hour is late, although its account was in sync a minute ago', () => {
    const why = whyOfCalendar(factsOf({ calendar: { lastReadAt: NOW - 31 * MINUTE } }), CALENDAR.id)
    expect(why).toMatchObject({ isUpToDate: false, causes: [{ code: 'late' }] })
  })
})

describe('words and why', () => {
  test('never differ: the state is that of a cause, and what stands still is never in sync, for any facts', () => {
    const gates = [
      ON,
      UNKNOWN,
      closedBy('CALENDAR_SYNC_ENABLED'),
      cappedBy('CALENDAR_ALLOWLIST_PROVIDER_IDS'),
    ]
    const seen = new Set<string>()
    const wrong: string[] = []
    for (const [at, first] of CAUSE_CODES.entries())
      for (const second of CAUSE_CODES.slice(at))
        for (const gate of gates) {
          const [a, b] = [CASES[first], CASES[second]]
          const facts = factsOf({
            connection: { ...a.connection, ...b.connection },
            calendar: { ...a.calendar, ...b.calendar },
            installation: { ...a.installation, ...b.installation },
            place: { ...a.place, ...b.place },
            gate,
          })
          const why = whyOfConnection(facts)
          const words = connectionWords(facts.connection, gate, why.causes)
          seen.add(words.state)
          const told = why.causes.find(({ text }) => text === words.summary)
          const isTold = told !== undefined && entryOf(told.code).state === words.state
          const isRight = words.state === 'in_sync' ? told === undefined : isTold && !why.isUpToDate
          if (!isRight || why.isUpToDate !== isHarmless(why.causes))
            wrong.push(`${first}, ${second}, ${gate.state}: ${words.state}`)
        }
    expect(wrong).toEqual([])
    expect(seen.size).toBeGreaterThan(9)
  })
})
