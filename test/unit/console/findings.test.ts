// What the page of the fleet calls well: only what was seen, and is.
import { describe, expect, test } from 'vitest'
import { CAUSE_CODES, entryOf } from '#shared/domain/causes.ts'
import { SERVICE_NAMES } from '#shared/domain/causes-of-installation.ts'
import { GATES } from '#shared/domain/gates.ts'
import { findingsOf } from '../../../services/console/fleet/findings.ts'
import type { Fleet } from '../../../services/console/fleet/fleet.ts'

type Facts = Omit<Fleet, 'findings' | 'is_well'>

const service = (name: string): Fleet['services'][number] => {
  return {
    service: name,
    state: 'alive',
    processes: 1,
    versions: ['1'],
    since: null,
    problems: [],
    last_progress_at: null,
  }
}
const WELL: Facts = {
  as_of: '2026-11-30T12:00:00.000Z',
  database_problem: null,
  connections: { total: 1, in_sync: 1, by_state: [] },
  failures: [],
  backlog: { outbox_rows: 0, outbox_oldest_seconds: 0, held: [], dead_letters: 0 },
  holds: { calendars: 1, events: 1 },
  causes: [],
  services: SERVICE_NAMES.map(service),
  gates: GATES.map((gate) => ({ gate, state: 'on', open: true })),
  vendors: [],
}
const found = (change: Partial<Facts>) =>
  findingsOf({ ...WELL, ...change }).map(({ level, text, href }) => `${level} ${text} ${href}`)

test('an installation in which all was seen and is well has no finding (control)', () => {
  expect(found({})).toEqual([])
})

describe('a finding', () => {
  test.each<[string, Partial<Facts>, RegExp]>([
    [
      'Postgres away',
      { database_problem: 'Postgres does not answer.' },
      /^bad Postgres does not answer.*last ones/,
    ],
    ['gates that are not known', { gates: null }, /^bad Unleash does not answer.* \/gates$/],
    [
      'a closed gate',
      { gates: [{ gate: 'CALENDAR_SYNC_ENABLED', state: 'off', open: false }] },
      /^warn The gate CALENDAR_SYNC_ENABLED is closed \(off\)/,
    ],
    [
      'changes that wait',
      { backlog: { ...WELL.backlog!, outbox_rows: 1200, outbox_oldest_seconds: 240 } },
      /^bad 1\u2009200 changes wait to be published, the oldest for 4 min/,
    ],
    [
      'held work',
      { backlog: { ...WELL.backlog!, held: [{ gate: 'CALENDAR_SYNC_ENABLED', connections: 1 }] } },
      /^warn Work of 1 connection waits/,
    ],
    [
      'dead letters',
      { backlog: { ...WELL.backlog!, dead_letters: 1 } },
      /^warn 1 dead letter was given up.* \/dead-letters$/,
    ],
    [
      'a service that nobody heard of',
      { services: [{ ...service('sync'), state: 'lost', processes: 0 }] },
      /^bad No process of sync lives: nothing is read/,
    ],
    [
      'a service that keeps ending',
      { services: [{ ...service('relay'), state: 'restarting' }] },
      /^bad Processes of relay keep ending/,
    ],
    [
      'a service that lacks something',
      { services: [{ ...service('relay'), state: 'not_ready', problems: ['kafka: no answer'] }] },
      /^warn relay is not ready: kafka: no answer/,
    ],
  ])('is %s', (_what, change, words) => {
    const [line, ...more] = found(change)
    expect([line, more]).toEqual([expect.stringMatching(words), []])
  })

  test('is each cause that stops work, and each that a person can act on, and no other', () => {
    for (const cause of CAUSE_CODES) {
      const { actor, effect, means } = entryOf(cause)
      const lines = found({ causes: [{ cause, vendor: 'google', connections: 3, oldest_since: null }] })
      const isCalm = effect === 'warns' || (effect === 'delays' && actor === 'nobody')
      const level = effect === 'stops' ? 'bad' : 'warn'
      expect(lines, cause).toEqual(
        isCalm ? [] : [`${level} 3 connections: ${means} /connections?cause=${cause}`],
      )
    }
  })

  test('that is bad stands before one that is not, and both vendors are one', () => {
    const cause = (code: 'channel_failing' | 'grant_revoked', vendor: string) => {
      return { cause: code, vendor, connections: 2, oldest_since: null }
    }
    const lines = found({
      backlog: { ...WELL.backlog!, dead_letters: 2 },
      causes: [cause('grant_revoked', 'google'), cause('grant_revoked', 'microsoft')],
    })
    expect(lines[0]).toMatch(/^bad 4 connections: /)
    expect(lines[1]).toMatch(/^warn 2 dead letters/)
  })
})
