// DOORS: each switch alone, at each door of both vendors. An operator can read afterwards what it
// did: one log line for each change that a process has seen, and counters of the gates' answers.
import type { SwitchName } from '#shared/gates/gate-rules.ts'
import { SWITCHES } from '#shared/gates/seed-toggles.ts'
import { allOf, criterion, met, named } from '../criterion.ts'
import type { Drill, DrillRun, RequestSpec } from '../drill.ts'
import { operatorToken } from '../environment/tokens.ts'
import { gatesOff, providerRemoved } from '../faults/gates.ts'
import type { Ledgers, OwnRequest } from '../ledgers/ledgers.ts'
import { askForSync, JSON_BODY } from './asking.ts'

/** Those that ask gates; the relay does not. */
const ASKING = ['ingress-1', 'sync-1', 'scheduler-1', 'retry-1']

const TEXTS: Readonly<Partial<Record<SwitchName, string>>> = {
  CALENDAR_SYNC_ENABLED: 'Calendar sync not enabled',
  CALENDAR_WEBHOOK_ENABLED: 'Calendar webhooks not enabled',
  CALENDAR_OAUTH_ENABLED: 'Calendar OAuth not enabled',
}

interface Door extends RequestSpec {
  readonly gate: SwitchName
}

interface Knock {
  readonly door: Door
  /** The switch that was off; null = none. */
  readonly off: SwitchName | null
  readonly answer: OwnRequest
}

const doors: Drill = {
  id: 'DOORS',
  title: 'Each switch at each door of both vendors; audit lines and counters tell of it',
  report: 'graceful-degradation',
  criteria: {
    'DOORS.1': criterion`A closed door answers ${named(403)} with its text, for both vendors: webhooks, sync API, OAuth start and callback`,
    'DOORS.2': criterion`The other doors do not notice`,
    'DOORS.3': criterion`Every process that asks gates writes one audit line for each change that it sees`,
    'DOORS.4': criterion`The decisions are counted on /metrics, by gate and state`,
    'DOORS.5': criterion`With the jobs off a request is accepted and its unit held, with a row that names the gate`,
  },
  faults: ['F2', 'F3'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 4, eventsPerCalendar: 5, latencyMs: 20 }),
  invariants: ['I13', 'I17'],
  wallMs: 200_000,
  recoverWithinMs: 60_000,
  async run(d) {
    const all = await doorsOf(d)
    const knocks = await knockAll(d, all, null)
    const [first, second] = d.system.accounts
    let heldBy = ''
    for (const gate of SWITCHES) {
      const off = await gatesOff(d, 'F3', [gate])
      knocks.push(...(await knockAll(d, all, gate)))
      if (gate === 'CALENDAR_JOBS_ENABLED')
        heldBy = await heldGate(d, second!.connectionId, second!.providerId)
      await off.heal()
    }
    const removed = await providerRemoved(d, 'F2', first!.providerId)
    // Longer than every process needs to see it.
    await d.lasting(3_000)
    await removed.heal()
    await d.lasting(3_000)
    await d.converged(60_000)
    return ({ ledgers, holds }) => {
      const own = knocks.filter(({ door, off }) => door.gate === off)
      const wrong = own.filter(
        ({ door, answer }) => answer.status !== 403 || !answer.body.includes(TEXTS[door.gate] ?? '?'),
      )
      const before = new Map(
        knocks.flatMap(({ door, off, answer }) => (off === null ? [[door.what, answer.status]] : [])),
      )
      const others = knocks.filter(({ door, off }) => off !== null && door.gate !== off)
      const noticed = others.filter(({ door, answer }) => answer.status !== before.get(door.what))
      const lines = auditLines(ledgers)
      const counted = countedOff(ledgers, own)
      return {
        criteria: {
          'DOORS.1': met(wrong.length === 0, `${own.length} answers of closed doors, ${told(wrong)} wrong`),
          'DOORS.2': met(
            noticed.length === 0 && ![...before.values()].includes(403),
            `${others.length} answers of the other doors, ${told(noticed)} unlike before: ${[...before].map(([what, status]) => `${what} ${status}`).join(', ')}`,
          ),
          'DOORS.3': met(
            lines.wrong.length === 0,
            `${lines.seen} lines; ${lines.wrong.join('; ') || 'none missing, none twice'}`,
          ),
          'DOORS.4': met(counted.missing.length === 0, `${counted.told}; ${counted.missing.join('; ')}`),
          'DOORS.5': allOf(
            met(heldBy === 'CALENDAR_JOBS_ENABLED', `the row of the held unit names ${heldBy || 'nothing'}`),
            holds('I13', 'I17'),
          ),
        },
        witnesses: [
          { name: 'answers of closed doors', need: all.length, got: own.length },
          { name: 'audit lines of switches', need: ASKING.length * SWITCHES.length * 2, got: lines.seen },
        ],
      }
    }
  },
}

async function doorsOf(d: DrillRun): Promise<readonly Door[]> {
  const authorization = `Bearer ${await operatorToken(d.system)}`
  const providerId = d.system.accounts[0]?.providerId
  const webhook = (vendor: string): Door => ({
    gate: 'CALENDAR_WEBHOOK_ENABLED',
    what: `webhook of ${vendor}`,
    method: 'POST',
    path: `/api/webhooks/calendar/${vendor}`,
    headers: JSON_BODY,
    body: '{}',
  })
  const oauth = (vendor: string, step: string): Door => ({
    gate: 'CALENDAR_OAUTH_ENABLED',
    what: `OAuth ${step || 'start'} of ${vendor}`,
    method: 'GET',
    path: `/api/auth/${vendor}/calendar${step ? `/${step}` : ''}`,
  })
  return [
    {
      gate: 'CALENDAR_SYNC_ENABLED',
      what: 'sync API',
      method: 'POST',
      path: '/api/calendar/sync',
      headers: { authorization, ...JSON_BODY },
      body: JSON.stringify({ provider_id: providerId }),
    },
    webhook('google'),
    webhook('microsoft'),
    {
      ...webhook('microsoft'),
      what: 'handshake of microsoft',
      path: `${webhook('microsoft').path}?validationToken=drill`,
    },
    ...['google', 'microsoft'].flatMap((vendor) => [oauth(vendor, ''), oauth(vendor, 'callback')]),
  ]
}

async function knockAll(d: DrillRun, all: readonly Door[], off: SwitchName | null): Promise<Knock[]> {
  const knocks: Knock[] = []
  for (const door of all) knocks.push({ door, off, answer: await d.request(door) })
  return knocks
}

/** A request is accepted while the jobs are off. @returns the gate in the row of its held unit. */
async function heldGate(d: DrillRun, connectionId: string, providerId: string): Promise<string> {
  await askForSync(d, providerId, 'sync API with the jobs off')
  let gate = ''
  await d.until(
    'the unit is held',
    async () => {
      const rows = await d.system.ask<{ gate: string }>(
        'select gate from held_requests where connection_id = $1',
        [connectionId],
      )
      gate = rows[0]?.gate ?? ''
      return gate !== ''
    },
    20_000,
  )
  return gate
}

/** Each switch was thrown once and back: two lines per process. The provider list adds two more. */
function auditLines({ logs }: Ledgers) {
  const changes = logs.flatMap(({ instance, fields }) =>
    typeof fields?.['gate'] === 'string' && fields['before'] !== undefined && fields['before'] !== 'unknown'
      ? [
          {
            instance,
            gate: fields['gate'],
          },
        ]
      : [],
  )
  const wrong: string[] = []
  let seen = 0
  for (const instance of ASKING)
    for (const gate of SWITCHES) {
      const own = changes.filter((line) => line.instance === instance && line.gate === gate)
      seen += own.length
      if (own.length !== 2) wrong.push(`${instance} has ${own.length} lines of ${gate}`)
    }
  for (const instance of ASKING) {
    const gate = 'CALENDAR_ALLOWLIST_PROVIDER_IDS'
    const told = logs.filter(
      ({ fields, ...line }) => line.instance === instance && fields?.['gate'] === gate && 'removed' in fields,
    ).length
    if (told === 0) wrong.push(`${instance} does not say who was removed from ${gate}`)
  }
  return { seen, wrong }
}

function countedOff({ scrapes }: Ledgers, refused: readonly Knock[]) {
  const ingress = scrapes.filter(({ instance }) => instance === 'ingress-1')
  const missing: string[] = []
  const parts: string[] = []
  for (const [gate, knocks] of Map.groupBy(refused, ({ door }) => door.gate)) {
    let counted = 0
    for (const { values } of ingress)
      for (const [sample, value] of values)
        if (
          sample.startsWith('calendar_sync_gate_decisions') &&
          sample.includes(`gate="${gate}"`) &&
          sample.includes('state="off"')
        )
          counted += value
    parts.push(`${gate} off ${counted} times, ${knocks.length} knocks refused`)
    if (counted < knocks.length) missing.push(`${gate} counted ${counted}`)
  }
  return { missing, told: parts.join(', ') }
}

function told(knocks: readonly Knock[]): string {
  const [first] = knocks
  return `${knocks.length}${first ? ` (${first.door.what} ${first.answer.status} ${first.answer.body.slice(0, 80)})` : ''}`
}

export const DOORS: readonly Drill[] = [doors]
