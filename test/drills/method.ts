// What a method holds while it runs: faults that are proven and taken back, load, requests, waits.
// Each act is noted. What it leaves behind is rolled back in reverse order.
import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { text as readText } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import type { System } from './environment/system.ts'
import { hastenSecondLooks, unrest, unwatched } from './environment/rest.ts'
import { DrillFailed, DrillInvalid, sizeOf } from './drill.ts'
import type { ActiveFault, Drill, DrillRun, FaultSpec, Profile, RequestSpec } from './drill.ts'
import type { FaultEntry, OwnRequest } from './ledgers/ledgers.ts'
import { seededRandom } from './random.ts'

export interface Method {
  readonly run: DrillRun
  readonly nemesis: readonly FaultEntry[]
  readonly requests: readonly OwnRequest[]
  /**
   * Waits for rest and for a channel on every calendar. Null when both came in time, else what is
   * missing.
   */
  ready(withinMs: number): Promise<string | null>
  /** Waits for rest; null when it came in time, else what is missing. */
  settle(withinMs: number): Promise<string | null>
  /** Never resolves. Rejects when the time is over or the run is stopped. */
  stopped(wallMs: number): Promise<never>
  /** Takes back whatever lasts. @returns what was not seen to be gone. */
  rollBack(): Promise<readonly string[]>
}

const VERIFY_WITHIN_MS = 30_000
const REQUEST_MS_MAX = 30_000
const BODY_KEPT = 4_000
const SENDER = new Agent({ keepAlive: true })

export interface MethodOptions {
  readonly profile: Profile
  readonly seed: number
  readonly say: (line: string) => void
  readonly signal: AbortSignal
  /** Cuts every wait of the method, for runs that are expected to fail. */
  readonly patienceMs?: number
}

export function openMethod(drill: Drill, system: System, options: MethodOptions): Method {
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, options.signal])
  const nemesis: FaultEntry[] = []
  const requests: OwnRequest[] = []
  const active: ActiveFault[] = []
  const { patienceMs = Infinity } = options
  let loads = 0
  const run: DrillRun = {
    system,
    profile: sizeOf(options.profile),
    seed: options.seed,
    random: seededRandom(`${drill.id}/${options.seed}`),
    signal,
    say: options.say,
    async inject(fault) {
      const one = await injectFault(fault, { nemesis, signal, say: options.say })
      active.push(one)
      return one
    },
    async strike({ fault, action, target }, act) {
      const entry = newEntry({ fault, action, target })
      nemesis.push(entry)
      await act()
      entry.activeAt = entry.endedAt = entry.healedAt = Date.now()
    },
    load(changesPerSecond, durationMs, accountIds) {
      loads += 1
      const seed = `${drill.id}/${options.seed}/${loads}`
      return system.vendor.load(
        { changesPerSecond, durationMs, seed, ...(accountIds === undefined ? {} : { accountIds }) },
        signal,
      )
    },
    async request(spec) {
      const sent = await sendRequest(system.ingressUrl, spec)
      requests.push(sent)
      return sent
    },
    async until(what, ask, limitMs) {
      const began = performance.now()
      const withinMs = Math.min(limitMs, patienceMs)
      if (!(await holdsWithin(ask, withinMs, signal)))
        throw new DrillFailed(`not within ${withinMs} ms: ${what}`)
      return performance.now() - began
    },
    async converged(limitMs) {
      const began = performance.now()
      const withinMs = Math.min(limitMs, patienceMs)
      const missing = await settle(system, withinMs, signal)
      if (missing !== null) throw new DrillFailed(`not at rest within ${withinMs} ms: ${missing}`)
      return performance.now() - began
    },
    delivered: (withinMs) =>
      run.until(
        'every delivery of the vendors is done',
        async () => {
          const [google, microsoft] = await Promise.all(
            ['/admin/channels', '/admin/subscriptions'].map((route) =>
              system.vendor.admin<{ pending: number }>('GET', route),
            ),
          )
          return google?.pending === 0 && microsoft?.pending === 0
        },
        withinMs,
      ),
    async lasting(ms) {
      await delay(ms, undefined, { signal }).catch(() => undefined)
    },
  }
  return {
    run,
    nemesis,
    requests,
    settle: (withinMs) => settle(system, withinMs, options.signal),
    ready: (withinMs) => settle(system, withinMs, options.signal, [unrest, unwatched]),
    stopped: (wallMs) => untilStopped(wallMs, options.signal),
    async rollBack() {
      stop.abort()
      return healAll(active)
    },
  }
}

async function injectFault(
  fault: FaultSpec,
  { nemesis, signal, say }: { nemesis: FaultEntry[]; signal: AbortSignal; say: (line: string) => void },
): Promise<ActiveFault> {
  const entry = newEntry(fault)
  nemesis.push(entry)
  const heal = once(async () => {
    await fault.heal()
    entry.endedAt = Date.now()
    if (await holdsWithin(fault.isHealed, VERIFY_WITHIN_MS, neverAborted())) entry.healedAt = Date.now()
    say(`${fault.fault} ${fault.action} on ${fault.target} is over`)
  })
  try {
    await fault.inject()
    say(`${fault.fault} ${fault.action} on ${fault.target}`)
    if (!(await holdsWithin(fault.isActive, VERIFY_WITHIN_MS, signal)))
      throw new DrillInvalid(`${fault.fault} ${fault.action} on ${fault.target} was not seen to act`)
    entry.activeAt = Date.now()
  } catch (error) {
    await heal()
    throw error
  }
  return { entry, heal }
}

function newEntry({ fault, action, target }: Pick<FaultSpec, 'fault' | 'action' | 'target'>): FaultEntry {
  return { fault, action, target, startedAt: Date.now(), activeAt: null, endedAt: null, healedAt: null }
}

async function healAll(active: readonly ActiveFault[]): Promise<readonly string[]> {
  const unhealed: string[] = []
  for (const { entry, heal } of active.toReversed()) {
    const problem = await heal().then(
      () => (entry.healedAt === null ? 'it still acts' : null),
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    )
    if (problem !== null) unhealed.push(`${entry.action} on ${entry.target}: ${problem}`)
  }
  return unhealed
}

async function settle(
  system: System,
  withinMs: number,
  signal: AbortSignal,
  looks: readonly ((system: System) => Promise<readonly string[]>)[] = [unrest],
): Promise<string | null> {
  let last = 'nothing was asked'
  const ask = async () => {
    const missing: string[] = []
    await hastenSecondLooks(system).catch(() => undefined)
    for (const look of looks) missing.push(...(await look(system).catch((error: unknown) => [String(error)])))
    last = missing.join('; ')
    return missing.length === 0
  }
  return (await holdsWithin(ask, withinMs, signal)) ? null : last
}

/** Asks until it says yes; an error counts as no. */
async function holdsWithin(
  ask: () => Promise<boolean> | boolean,
  withinMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = performance.now() + withinMs
  while (!signal.aborted) {
    if (await askOnce(ask)) return true
    if (performance.now() > deadline) return false
    await delay(50)
  }
  return false
}

async function askOnce(ask: () => Promise<boolean> | boolean): Promise<boolean> {
  try {
    return await ask()
  } catch {
    return false
  }
}

async function untilStopped(wallMs: number, signal: AbortSignal): Promise<never> {
  await delay(wallMs, undefined, { signal, ref: false }).catch(() => undefined)
  throw new Error(signal.aborted ? 'stopped from outside' : `the method took longer than ${wallMs} ms`)
}

/** One request, with everything that a caller gets to see. Never rejects. */
export async function sendRequest(origin: string, spec: RequestSpec): Promise<OwnRequest> {
  const { what, method, path, headers = {}, body, delivery = null, calendar = null } = spec
  const at = Date.now()
  const began = performance.now()
  const seen = (answer: Pick<OwnRequest, 'status' | 'body' | 'retryAfter'>): OwnRequest => ({
    at,
    what,
    method,
    path,
    delivery,
    calendar,
    latencyMs: performance.now() - began,
    ...answer,
  })
  try {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX)
    const response = await answerTo(new URL(path, origin), { method, headers, signal }, body)
    const text = (await readText(response)).slice(0, BODY_KEPT)
    return seen({
      status: response.statusCode ?? 0,
      body: text,
      retryAfter: response.headers['retry-after'] ?? null,
    })
  } catch (error) {
    return seen({ status: 0, body: error instanceof Error ? error.message : String(error), retryAfter: null })
  }
}

/**
 * Not by fetch: in a burst it opens more sockets than it has requests under way. An address may
 * open 500 (ADR 13).
 */
function answerTo(url: URL, options: RequestOptions, body: RequestSpec['body']): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpRequest(url, { ...options, agent: SENDER }, resolve)
      .once('error', reject)
      .end(body)
  })
}

function once(act: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | null = null
  return () => (result ??= act())
}

function neverAborted(): AbortSignal {
  return new AbortController().signal
}
