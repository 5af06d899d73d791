// How each fault of a chaos schedule is carried out. Invariant: a part that can be away only once
// has one fault at a time.
import type { DrillRun, FaultSpec } from '../drill.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import type { Part } from '../environment/streams.ts'
import { kafkaIsUp } from '../faults/kafka.ts'
import { postgresIsUp, terminateSessions } from '../faults/postgres.ts'
import { LISTING } from '../faults/vendors.ts'
import type { NemesisAction, ScheduledFault } from './schedule.ts'

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

/**
 * Carries out one fault of a schedule: injects it, waits as long as it lasts, takes it back.
 * Rejects when it cannot.
 */
export async function strikeOne(d: DrillRun, fault: ScheduledFault): Promise<void> {
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
    component: Part,
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
