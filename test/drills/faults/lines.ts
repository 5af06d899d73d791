// Faults of the lines between the parts, made by the services' proxies, and of the parts
// themselves.
import type { Part } from '../environment/streams.ts'
import type { Cut, TcpProxy, Toxics } from '../../support/tcp-proxy.ts'
import type { ActiveFault, DrillRun } from '../drill.ts'

const READY_MS = 120_000

export interface LineFault {
  readonly fault: string
  readonly action: string
  readonly target: string
  readonly line: TcpProxy
}

/**
 * The line is bad until healed. Active at once, since the proxy is ours. A line that is down must
 * have refused or reset a client.
 */
export function badLine(drill: DrillRun, what: LineFault, toxics: Toxics): Promise<ActiveFault> {
  const { line, fault, action, target } = what
  const refusedBefore = line.refused()
  let reset = 0
  return drill.inject({
    fault,
    action,
    target,
    async inject() {
      reset = line.open()
      line.set(toxics)
    },
    isActive: () => !toxics.down || reset > 0 || line.refused() > refusedBefore,
    heal: async () => {
      line.set({})
      // Sockets that swallowed bytes are out of step for ever. A network that comes back finds them
      // dead.
      if (toxics.mute !== undefined) line.resetAll()
    },
    isHealed: () => true,
  })
}

/** Every client of this line is answered this until healed. Active once so many have got it. */
export function answeredInstead(
  drill: DrillRun,
  what: LineFault & { readonly answer: string; readonly minAnswers: number },
): Promise<ActiveFault> {
  const { line, fault, action, target, answer, minAnswers } = what
  const before = line.answered()
  return drill.inject({
    fault,
    action,
    target,
    inject: async () => line.set({ answer }),
    isActive: () => line.answered() >= before + minAnswers,
    heal: async () => line.set({}),
    isHealed: () => true,
  })
}

/** The line flaps: down and up in turn, until healed. */
export function flapping(drill: DrillRun, what: LineFault, periodMs: number): Promise<ActiveFault> {
  const { line, fault, action, target } = what
  let timer: NodeJS.Timeout | undefined
  let flips = 0
  return drill.inject({
    fault,
    action,
    target,
    async inject() {
      timer = setInterval(() => {
        flips += 1
        line.set(flips % 2 === 1 ? { down: true } : {})
      }, periodMs)
    },
    isActive: () => flips >= 2,
    heal: async () => {
      clearInterval(timer)
      line.set({})
    },
    isHealed: () => true,
  })
}

/** Cuts the line at one message of its protocol; resolves when it happened. */
export async function cutOnce(drill: DrillRun, what: LineFault, cut: Cut, withinMs = 30_000): Promise<void> {
  const { line, fault, action, target } = what
  const before = line.cuts()
  await drill.strike({ fault, action, target }, async () => {
    line.cutOn(cut)
    await drill
      .until(`the line to ${target} is cut: ${action}`, () => line.cuts() > before, withinMs)
      .finally(() => line.disarm())
  })
}

/** Every connection of a line is reset at once. */
export async function resetOnce(drill: DrillRun, what: LineFault): Promise<number> {
  const { line, fault, action, target } = what
  let reset = 0
  await drill.strike({ fault, action, target }, async () => {
    reset = line.resetAll()
  })
  return reset
}

/**
 * Stops, kills or freezes a part of the infrastructure until healed. `isUp` is a round trip to it.
 */
export function partAway(
  drill: DrillRun,
  what: {
    readonly fault: string
    readonly how: 'stop' | 'kill' | 'pause'
    readonly part: Part
    readonly isUp: () => Promise<boolean>
  },
): Promise<ActiveFault> {
  const { fault, how, part, isUp } = what
  return drill.inject({
    fault,
    action: how,
    target: part.name,
    async inject() {
      if (how === 'stop') await part.stop()
      else if (how === 'kill') await part.kill()
      else part.pause()
    },
    isActive: async () => !(await isUp()),
    async heal() {
      if (how === 'pause') part.resume()
      else await part.restart(AbortSignal.timeout(READY_MS))
    },
    isHealed: isUp,
  })
}
