// The verdict of `calstream status`: healthy only when everything was seen and is well; each
// trouble alone is enough against it.
import { describe, expect, test } from 'vitest'
import type { ServiceLook } from '../../../services/cli/look-at-services.ts'
import { judge, LAG_MAX, OUTBOX_AGE_MAX_S, type Facts } from '../../../services/cli/status-report.ts'
import { counted, span } from '../../../services/cli/words.ts'
import { beatsOf, NOW, process } from '../../support/beats.ts'

const service = (name: ServiceLook['name'], change: Partial<ServiceLook> = {}): ServiceLook => ({
  name,
  url: 'http://127.0.0.1:1',
  state: 'ready',
  problems: [],
  vendorsLeftAlone: [],
  keys: [],
  aheadMs: null,
  ...change,
})
const BACKLOG = {
  outboxRows: 0,
  outboxOldestSeconds: 0,
  held: [],
  deadLetters: 0,
  calendars: 2,
  events: 9,
  openChannels: 2,
  lastNotificationAt: {},
}
const state = (name: string) =>
  ({ vendor: 'google', state: name, connections: 3, oldestSyncSeconds: 9 }) as never
const gate = (state: string, isOpen: boolean) => ({ gate: 'CALENDAR_SYNC_ENABLED', state, isOpen }) as const
const WELL: Facts = {
  services: { seen: [service('relay'), service('sync')] },
  beats: { seen: beatsOf() },
  canaries: { seen: [] },
  gates: { seen: [gate('on', true), gate('on for 3', true), gate('on for everybody', true)] },
  states: { seen: [state('in_sync'), state('catching_up'), state('first_sync'), state('disconnected')] },
  backlog: { seen: { ...BACKLOG, outboxRows: 5, outboxOldestSeconds: OUTBOX_AGE_MAX_S } },
  lag: { seen: { 'calstream-sync': LAG_MAX } },
}
const AWAY = { problem: 'no answer' }
const silent = service('relay', { state: 'silent', problems: ['no answer'] })

describe('an installation', () => {
  test('is healthy when all was seen and is well, those who left included (control)', () => {
    expect(judge(WELL)).toEqual([])
  })

  test.each<[string, Partial<Facts>, string]>([
    ['a silent service', { services: { seen: [silent] } }, 'relay'],
    [
      'a service of which no process tells that it lives',
      { services: { seen: [] }, beats: { seen: beatsOf({ sync: [] }) } },
      'sync',
    ],
    [
      'a service whose last process was seen too long ago',
      { beats: { seen: beatsOf({ scheduler: [process('scheduler', { seenAt: NOW - 5_000_000 })] }) } },
      'scheduler',
    ],
    [
      'a vendor that a process leaves alone, as it tells itself',
      {
        beats: {
          seen: beatsOf({
            sync: [process('sync', { facts: { breakers: [{ vendor: 'google', part: 'api', until: NOW }] } })],
          }),
        },
      },
      'google',
    ],
    [
      'a service that is not ready',
      { services: { seen: [service('sync', { state: 'not ready' })] } },
      'sync',
    ],
    ['services that cannot be asked', { services: AWAY }, 'services'],
    [
      'a vendor that is left alone',
      { services: { seen: [service('sync', { vendorsLeftAlone: ['google'] })] } },
      'google',
    ],
    ['gates that are unknown', { gates: AWAY }, 'gates'],
    ['a gate that is off', { gates: { seen: [gate('off', false)] } }, 'CALENDAR_SYNC_ENABLED'],
    ['a toggle that is missing', { gates: { seen: [gate('missing', false)] } }, 'CALENDAR_SYNC_ENABLED'],
    [
      'a switch that depends on more',
      { gates: { seen: [gate('on, through userIds', false)] } },
      'CALENDAR_SYNC_ENABLED',
    ],
    ['a database that is away', { states: AWAY, backlog: AWAY }, 'postgres'],
    ['a broker that is away', { lag: AWAY }, 'kafka'],
    ['a group that is far behind', { lag: { seen: { 'calstream-sync': LAG_MAX + 1 } } }, 'calstream-sync'],
    [
      'rows that wait too long',
      { backlog: { seen: { ...BACKLOG, outboxRows: 1, outboxOldestSeconds: OUTBOX_AGE_MAX_S + 1 } } },
      'outbox',
    ],
    [
      'work that a gate holds',
      { backlog: { seen: { ...BACKLOG, held: [{ gate: 'x', connections: 1 }] } } },
      'held',
    ],
    [
      'a calendar that is listed as a whole',
      { backlog: { seen: { ...BACKLOG, plainCalendars: 1 } } },
      'plain listings',
    ],
    ['a dead letter', { backlog: { seen: { ...BACKLOG, deadLetters: 1 } } }, 'dead letters'],
    ...['needs_reauth', 'retrying', 'late', 'paused', 'disabled'].map(
      (name): [string, Partial<Facts>, string] => [name, { states: { seen: [state(name)] } }, name],
    ),
  ])('with %s is not, and says what', (_what, trouble, what) => {
    const findings = judge({ ...WELL, ...trouble })
    expect(findings.map((finding) => finding.what)).toEqual([what])
    expect(findings[0]?.do).not.toBe('')
  })

  test('is not well when its processes cannot be read of, although their ports are well', () => {
    const whats = judge({ ...WELL, beats: AWAY }).map((finding) => finding.what)
    expect(whats).toEqual(['services', 'ingress', 'retry', 'scheduler'])
  })

  test('tells first what the others stand on, and once what all services miss', () => {
    const missing = { state: 'not ready', problems: ['kafka: no answer'] } as const
    const services = { seen: [service('sync', missing), service('retry', missing), silent] }
    const whats = judge({ ...WELL, services, lag: AWAY, states: { seen: [state('late')] } }).map(
      ({ what }) => what,
    )
    expect(whats).toEqual(['kafka', 'relay', 'sync, retry', 'late'])
  })
})

test.each([
  [7, '7'],
  [7539, '7 539'],
  [1_234_567, '1 234 567 or more'],
])('%i is said as %s', (number, text) => expect(counted(number)).toBe(text))

test.each([
  [0.4, '0 s'],
  [119, '119 s'],
  [600, '10 min'],
  [90_000, '25 h'],
  [864_000, '10 days'],
])('%d seconds are said as %s', (seconds, text) => expect(span(seconds)).toBe(text))
