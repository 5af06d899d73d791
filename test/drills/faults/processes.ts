// Faults of processes: killed, frozen, stopped in order. The proof of a kill is another pid that is
// ready. The proof of a freeze is that the process answers nothing.
import type { ActiveFault, DrillRun } from '../drill.ts'
import type { ServiceProcess } from '../environment/launch.ts'

const BACK_WITHIN_MS = 60_000
const MET_WITHIN_MS = 120_000
const ASK_MS = 1_000

/** kill -9 from outside; resolves when the supervisor has it ready again. */
export async function killAndAwait(drill: DrillRun, fault: string, process: ServiceProcess): Promise<number> {
  const starts = process.starts
  await drill.strike({ fault, action: 'kill -9', target: process.instance }, () => process.kill())
  return drill.until(
    `${process.instance} is back after kill -9`,
    () => process.starts > starts && isReady(process),
    BACK_WITHIN_MS,
  )
}

/** kill -9 of several at once; resolves when all are ready again. */
export async function killAllAndAwait(
  drill: DrillRun,
  fault: string,
  processes: readonly ServiceProcess[],
): Promise<void> {
  const starts = processes.map((process) => process.starts)
  const target = processes.map(({ instance }) => instance).join(', ')
  await drill.strike({ fault, action: 'kill -9', target }, async () => {
    await Promise.all(processes.map((process) => process.kill()))
  })
  await drill.until(
    'everything is back after kill -9',
    async () => {
      const ready = await Promise.all(processes.map((process) => isReady(process)))
      return ready.every((one, index) => one && (processes[index]?.starts ?? 0) > (starts[index] ?? 0))
    },
    BACK_WITHIN_MS,
  )
}

/** SIGSTOP until healed. */
export function freeze(drill: DrillRun, fault: string, process: ServiceProcess): Promise<ActiveFault> {
  return drill.inject({
    fault,
    action: 'SIGSTOP',
    target: process.instance,
    inject: async () => process.pause(),
    isActive: async () => !(await isReady(process)),
    heal: async () => process.resume(),
    isHealed: () => isAlive(process),
  })
}

export interface Crash {
  readonly point: string
  /** Makes the way past the point likely; repeated until the point is met. */
  readonly provoke: () => Promise<void>
}

/**
 * A process is killed and comes back to die at the first crash point. It comes back to die at the
 * second, and so on. Resolves when it is ready again after the last.
 * @returns the points at which something else ended it.
 */
export async function crashThrough(
  drill: DrillRun,
  process: ServiceProcess,
  crashes: readonly Crash[],
): Promise<readonly Crash[]> {
  const missed: Crash[] = []
  const first = process.starts
  process.killInto(...crashes.map(({ point }) => point))
  for (const [index, crash] of crashes.entries()) {
    const armed = first + index + 1
    await drill.strike(
      { fault: 'P4', action: `crash at ${crash.point}`, target: process.instance },
      async () => {
        await drill.until(`${process.instance} is armed`, () => process.starts >= armed, BACK_WITHIN_MS)
        const deadline = Date.now() + MET_WITHIN_MS
        while (process.starts === armed && Date.now() < deadline && !drill.signal.aborted) {
          await crash.provoke()
          await drill.lasting(200)
        }
        await drill.until(`${process.instance} died at ${crash.point}`, () => process.starts > armed, 5_000)
      },
    )
    const ends = drill.system.processEvents.filter(
      ({ instance, event }) => instance === process.instance && event === 'ended',
    )
    if (ends.at(-1)?.detail !== 'SIGKILL') missed.push(crash)
    drill.say(`${process.instance} died at ${crash.point}`)
  }
  await drill.until(`${process.instance} is back`, () => isReady(process), BACK_WITHIN_MS)
  return missed
}

/** Whether /readyz says yes. */
export async function isReady(process: ServiceProcess): Promise<boolean> {
  // A new process may answer a moment before its supervisor knows its pid.
  if (!process.running) return false
  return (await statusOf(`${process.adminUrl}/readyz`)) === 200
}

/** What /readyz says; empty when nothing answers. */
export async function readinessOf(process: ServiceProcess): Promise<string> {
  return fetch(`${process.adminUrl}/readyz`, { signal: AbortSignal.timeout(ASK_MS) }).then(
    (response) => response.text(),
    () => '',
  )
}

/** Whether /livez says yes. */
export async function isAlive(process: ServiceProcess): Promise<boolean> {
  return (await statusOf(`${process.adminUrl}/livez`)) === 200
}

async function statusOf(url: string): Promise<number> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_MS) })
    await response.arrayBuffer()
    return response.status
  } catch {
    return 0
  }
}
