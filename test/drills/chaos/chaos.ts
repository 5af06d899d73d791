// Chaos: a seeded nemesis combines two or three faults of different groups under load for a given time; the invariants are the judge,
// and slopes of memory, descriptors and database sessions say whether anything leaks.
import type { Component } from '../../../infra/local/component.ts'
import { recordedFailures } from '../checkers/failures.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import type { Drill, DrillRun, FaultSpec } from '../drill.ts'
import { allOf, met } from '../drill.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import { kafkaIsUp } from '../faults/kafka.ts'
import { postgresIsUp, terminateSessions } from '../faults/postgres.ts'
import { LISTING } from '../faults/vendors.ts'
import { chaosSchedule, type NemesisAction, type ScheduledFault } from './schedule.ts'
import { soakSlopes } from './slopes.ts'

const MINUTE_MS = 60_000
/** MB of resident memory per hour that a soak may grow, once it is long enough to say anything. */
const RSS_SLOPE_MAX = 60
const SLOPES_FROM_MINUTES = 20
/** What a unit sees as a failure of its vendor. */
const RECORDED: ReadonlySet<NemesisAction> = new Set(['vendor-503', 'vendor-429', 'vendor-reset'])

/** A drill that lasts this long. */
export function chaosDrill(minutes: number): Drill {
  return {
    id: 'CHAOS',
    title: `Chaos: two or three faults at once, ${minutes} minutes`,
    report: 'chaos',
    criteria: {
      'CHAOS.1': 'All invariants hold under combined faults',
      'CHAOS.2': 'Every fault was carried out as its schedule says',
      'CHAOS.3': 'Nothing leaks: memory, descriptors and sessions do not grow',
    },
    faults: ['P1', 'P2', 'P3', 'P5', 'P7', 'D1', 'D3', 'D5', 'K1', 'N1', 'N2', 'N7', 'A1', 'A2', 'A3', 'F1'],
    profiles: ['ci', 'full'],
    system: (profile) => ({
      connections: profile === 'full' ? 60 : 20,
      eventsPerCalendar: 20,
      latencyMs: 20,
      processes: { sync: 2, relay: 2 },
    }),
    invariants: ['I13', 'I15', 'I16', 'I26'],
    wallMs: minutes * MINUTE_MS + 10 * MINUTE_MS,
    recoverWithinMs: 180_000,
    flags: ` --minutes ${minutes}`,
    limits: 'One broker, stopped in order or cut off, never killed.',
    run: (d) => chaos(d, minutes * MINUTE_MS),
  }
}

async function chaos(d: DrillRun, durationMs: number) {
  const schedule = chaosSchedule(d.seed, durationMs)
  await d.system.vendor.admin('POST', '/admin/notifications', {
    retryOnConnectionError: true,
    retryAttemptsMax: 12,
  })
  const rate = d.profile === 'full' ? 30 : 25
  const load = d.load(rate, durationMs)
  const began = performance.now()
  const under: Promise<void>[] = []
  const troubles: string[] = []
  let done = 0
  for (const fault of schedule) {
    if (d.signal.aborted) break
    await d.lasting(Math.max(0, fault.at - (performance.now() - began)))
    under.push(
      strikeOne(d, fault).then(
        () => void (done += 1),
        (error: unknown) => void troubles.push(`${fault.action}: ${String(error)}`),
      ),
    )
    if (schedule.indexOf(fault) % 20 === 19)
      d.say(`${done} of ${schedule.length} faults, ${Math.round((performance.now() - began) / 1000)} s`)
  }
  await Promise.all(under)
  const changes = await load
  await d.system.vendor.clearFaults()
  // What Google would never repeat is found by the reconcile; here it is made due.
  await d.system.ask(
    "update external_calendar_connections set reconcile_at = calstream_now() where status = 'active'",
  )
  const recovered = await d.converged(180_000)
  return ({ ledgers, holds }: Parameters<Awaited<ReturnType<Drill['run']>>>[0]) => {
    const kills = ledgers.processes.filter(({ event }) => event === 'ended').length
    const count = (action: RegExp) => ledgers.nemesis.filter((entry) => action.test(entry.action)).length
    const slopes = soakSlopes(ledgers.samples, ledgers.load)
    const grown =
      durationMs < SLOPES_FROM_MINUTES * MINUTE_MS
        ? []
        : slopes.filter(({ name, perHour }) => perHour > (name.endsWith('MB') ? RSS_SLOPE_MAX : 5))
    return {
      criteria: {
        'CHAOS.1': allOf(
          holds('I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9', 'I15', 'I16', 'I26'),
          met(true, `rest ${Math.round(recovered)} ms; ${repeatedMessages(ledgers)} repeats`),
        ),
        'CHAOS.2': met(
          troubles.length === 0,
          `${done} of ${schedule.length} faults${troubles[0] ? `; ${troubles[0]}` : ''}`,
        ),
        'CHAOS.3': allOf(
          holds('I20'),
          met(
            grown.length === 0,
            grown.map(({ name, perHour }) => `${name} grows ${perHour.toFixed(1)} per hour`).join(', ') ||
              (durationMs < SLOPES_FROM_MINUTES * MINUTE_MS
                ? `too short to tell growth from warming up, which takes ${SLOPES_FROM_MINUTES} minutes`
                : `${slopes.length} slopes looked at; processes that were killed within 20 minutes have none`),
          ),
        ),
      },
      witnesses: [
        { name: 'faults', need: Math.floor(durationMs / 6_000), got: done },
        { name: 'kills', need: Math.floor(durationMs / 15_000), got: kills },
        { name: 'changes', need: Math.floor((durationMs / 1_000) * rate * 0.8), got: changes },
        {
          name: 'failures recorded',
          // A short run may draw no fault that a unit could record.
          need: schedule.filter(({ action }) => RECORDED.has(action)).length > 2 ? 1 : 0,
          got: recordedFailures(ledgers.audit).length,
        },
      ],
      numbers: {
        faults: done,
        kills,
        changes,
        postgresRestarts: count(/postgres (?:stop|kill)/),
        brokerOutages: count(/kafka/),
        recoveryMs: Math.round(recovered),
      },
    }
  }
}

/** Things of which only one may be away at a time, each behind a queue of its own. */
const queues = new WeakMap<object, Promise<void>>()

function inTurn(what: object, act: () => Promise<void>): Promise<void> {
  const next = (queues.get(what) ?? Promise.resolve()).then(act)
  queues.set(
    what,
    next.catch(() => undefined),
  )
  return next
}

async function strikeOne(d: DrillRun, fault: ScheduledFault): Promise<void> {
  const { system } = d
  const { action, forMs, victim } = fault
  const [verb, name] = action.split('-') as [string, string]
  const one = (services: readonly ServiceProcess[]) => services[Math.floor(victim * services.length)]!
  switch (action as string) {
    case 'kill-sync':
    case 'kill-relay':
    case 'kill-ingress':
    case 'kill-retry':
    case 'kill-scheduler':
      return killOne(d, one(system.of(name as ServiceProcess['service'])))
    case 'kill-all':
      await Promise.all(system.services.map((service) => killOne(d, service)))
      return
    case 'freeze-sync':
    case 'freeze-relay':
      return freezeOne(d, one(system.of(name as ServiceProcess['service'])), forMs * 3)
    case 'terminate-sessions':
      await terminateSessions(d, 'D3', { max: 10 })
      return
    case 'sync-off':
    case 'jobs-off':
    case 'webhooks-off':
      return inTurn(system.gates, () => switchOff(d, verb, forMs))
    default:
      return lasting(d, action, forMs)
  }
}

async function killOne(d: DrillRun, service: ServiceProcess): Promise<void> {
  // One that is down already cannot be killed again; its supervisor is at work.
  if (!service.running) return
  await d.strike({ fault: 'P2', action: 'kill -9', target: service.instance }, () => service.kill())
}

function freezeOne(d: DrillRun, service: ServiceProcess, forMs: number): Promise<void> {
  return inTurn(service, async () => {
    if (!service.running) return
    await d.strike({ fault: 'P5', action: 'SIGSTOP', target: service.instance }, async () => {
      const { pid } = service
      service.pause()
      await d.lasting(forMs)
      if (service.running && service.pid === pid) service.resume()
    })
  })
}

async function switchOff(d: DrillRun, name: string, forMs: number): Promise<void> {
  const gate = (
    {
      sync: 'CALENDAR_SYNC_ENABLED',
      jobs: 'CALENDAR_JOBS_ENABLED',
      webhooks: 'CALENDAR_WEBHOOK_ENABLED',
    } as const
  )[name as 'sync' | 'jobs' | 'webhooks']
  await d.strike({ fault: 'F1', action: 'off and on', target: gate }, async () => {
    try {
      await retried(() => d.system.gates.set(gate, false))
      await d.lasting(forMs)
    } finally {
      await retried(() => d.system.gates.set(gate, true))
    }
  })
}

/** The flag server needs its database, which may be away just now. */
async function retried(act: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await act()
      return
    } catch (error) {
      if (attempt >= 20) throw error
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }
}

type Lasting = Pick<FaultSpec, 'fault' | 'action' | 'target' | 'inject' | 'heal'> & {
  readonly owner: object
  readonly isHealed?: () => Promise<boolean>
}

async function lasting(d: DrillRun, action: NemesisAction, forMs: number): Promise<void> {
  const fault = faultOf(d, action)
  await inTurn(fault.owner, async () => {
    const active = await d.inject({ isActive: () => true, isHealed: () => true, ...fault })
    await d.lasting(forMs)
    await active.heal()
  })
}

function faultOf(d: DrillRun, action: NemesisAction): Lasting {
  const { stack, vendor } = d.system
  const { postgres, kafka, lines } = stack
  const part = (
    fault: string,
    component: Component,
    how: 'stop' | 'kill' | 'pause',
    isHealed: () => Promise<boolean>,
  ): Lasting => ({
    fault,
    action: `${component.name} ${how}`,
    target: component.name,
    owner: component,
    inject: async () =>
      how === 'pause' ? component.pause() : how === 'kill' ? component.kill() : component.stop(),
    heal: async () =>
      how === 'pause' ? component.resume() : component.restart(AbortSignal.timeout(120_000)),
    isHealed,
  })
  const line = (
    fault: string,
    name: 'postgres' | 'kafka',
    toxics: Parameters<typeof lines.kafka.set>[0],
  ): Lasting => ({
    fault,
    action: `${name} line ${Object.keys(toxics).join()}`,
    target: name,
    owner: lines[name],
    inject: async () => lines[name].set(toxics),
    heal: async () => {
      lines[name].set({})
      lines[name].resetAll()
    },
  })
  const answers = (fault: string, spec: Parameters<typeof vendor.fault>[0]): Lasting => {
    let id = ''
    return {
      fault,
      action,
      target: 'vendor',
      owner: {},
      inject: async () => void (id = await vendor.fault({ match: { path: LISTING }, ...spec })),
      heal: () => vendor.admin('DELETE', `/admin/faults/${id}`),
    }
  }
  const notifications = (on: object, off: object): Lasting => ({
    fault: 'A12',
    action,
    target: 'vendor',
    owner: vendor,
    inject: () => vendor.admin('POST', '/admin/notifications', on),
    heal: () => vendor.admin('POST', '/admin/notifications', off),
  })
  switch (action as string) {
    case 'restart-postgres':
      return part('D1', postgres, 'stop', () => postgresIsUp(d))
    case 'kill-postgres':
      return part('D4', postgres, 'kill', () => postgresIsUp(d))
    case 'pause-postgres':
      return part('D5', postgres, 'pause', () => postgresIsUp(d))
    case 'restart-kafka':
      return part('K1', kafka, 'stop', () => kafkaIsUp(d))
    case 'postgres-line-down':
      return line('N1', 'postgres', { down: true })
    case 'kafka-line-down':
      return line('N1', 'kafka', { down: true })
    case 'kafka-line-mute':
      return line('N7', 'kafka', { mute: 'down' })
    case 'kafka-reset':
      return line('N2', 'kafka', {})
    case 'vendor-503':
      return answers('A1', { respond: { status: 503 } })
    case 'vendor-429':
      return answers('A2', {
        respond: { status: 429, headers: { 'Retry-After': '3' }, reason: 'rateLimitExceeded' },
        times: 20,
      })
    case 'vendor-reset':
      return answers('A3', { reset: 'after', times: 20 })
    case 'vendor-slow':
      return answers('A3', { delayMs: 2_000, times: 30 })
    case 'notifications-lost':
      return notifications({ drop: 0.3 }, { drop: 0 })
    case 'notifications-doubled':
      return notifications({ duplicate: 2, reorder: true }, { duplicate: 0, reorder: false })
    default:
      throw new Error(`nobody knows how to do ${action}`)
  }
}
