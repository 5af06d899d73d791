// Gates switched by an operator. A switch is active when the metrics of every asking process say
// so.
import type { SwitchName } from '#shared/gates/gate-rules.ts'
import type { ActiveFault, DrillRun } from '../drill.ts'
import { metricsOf } from '../ledgers/observe.ts'

const ASKED_BY = ['ingress', 'sync', 'scheduler', 'retry']

/** The switches are off until healed. */
export function gatesOff(drill: DrillRun, fault: string, gates: readonly SwitchName[]): Promise<ActiveFault> {
  return drill.inject({
    fault,
    action: 'off',
    target: gates.join(', '),
    inject: () => switchAll(drill, gates, false),
    isActive: () => everySees(drill, gates, 0),
    heal: () => switchAll(drill, gates, true),
    isHealed: () => everySees(drill, gates, 1),
  })
}

/** One provider is taken off the list until healed. */
export function providerRemoved(drill: DrillRun, fault: string, providerId: string): Promise<ActiveFault> {
  const { gates } = drill.system
  const { providerIds, connectionIds } = gates.listed()
  return drill.inject({
    fault,
    action: 'removed from the allowlist',
    target: `provider ${providerId}`,
    inject: async () => {
      await gates.allow(
        providerIds.filter((id) => id !== providerId),
        connectionIds,
      )
    },
    isActive: () => true,
    heal: async () => {
      await gates.allow(providerIds, connectionIds)
    },
    isHealed: () => true,
  })
}

async function switchAll({ system }: DrillRun, gates: readonly SwitchName[], on: boolean): Promise<void> {
  for (const gate of gates) await system.gates.set(gate, on)
}

/** Whether every process has this answer for these gates: 1 open, 0 closed, -1 unknown. */
export async function everySees(
  { system }: DrillRun,
  gates: readonly string[],
  value: number,
): Promise<boolean> {
  const asked = system.services.filter(({ service, running }) => running && ASKED_BY.includes(service))
  const answers = await Promise.all(asked.map(({ adminUrl }) => gateStates(adminUrl)))
  return answers.every((states) => gates.every((gate) => !states.has(gate) || states.get(gate) === value))
}

async function gateStates(adminUrl: string): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>()
  for (const [sample, value] of await metricsOf(adminUrl)) {
    const gate = /^calendar_sync_gate_state\{.*gate="(\w+)"/.exec(sample)?.[1]
    if (gate !== undefined) found.set(gate, value)
  }
  return found
}
