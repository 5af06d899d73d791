// One service as a process, kept up as a supervisor in production would. A process that ends
// unasked is started again after a moment, without the crash point that killed it. Every start, end
// and stop is in the ledger.
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Child, type Exit, untilReady } from '../../../infra/stack/child.ts'
import { Component, StoppedMeanwhile } from '../../../infra/stack/component.ts'
import { logFileOf, type StackPlace } from '../../../infra/stack/infrastructure.ts'
import { nodeEnv, serviceEnv, type ServiceName, type StackEnv } from '../../../infra/stack/services.ts'

export interface ProcessEvent {
  /** ms since 1970. */
  readonly at: number
  readonly instance: string
  readonly event: 'ready' | 'ended' | 'stopped'
  readonly pid: number
  /** Of an end: what it ended with. Of `ready` and `stopped`: how long that took, in ms. */
  readonly detail: string
}

export interface LaunchOptions {
  readonly service: ServiceName
  /** Unique in its system, like `sync-2`. */
  readonly instance: string
  readonly env: StackEnv
  /** Root of the tree whose services run: the repository, or a copy with a seeded bug. */
  readonly tree: string
  readonly place: StackPlace
  readonly note: (event: ProcessEvent) => void
  /** For Node, beyond those of every service. */
  readonly nodeOptions?: readonly string[]
  /** For the first start only, see process/step.ts. */
  readonly crashAt?: string
}

const READY_TIMEOUT_MS = 60_000
const STOP_WITHIN_MS = 12_000
const RESTART_PAUSE_MS = 300
/** As in production, and a port of its own for the inspector that liveMemory opens. */
const NODE_OPTIONS = ['--max-semi-space-size=8', '--inspect-port=0']

export class ServiceProcess implements AsyncDisposable {
  readonly service: ServiceName
  readonly instance: string
  readonly adminUrl: string
  readonly #options: LaunchOptions
  #component: Component | null = null
  #starts = 0
  /** Crash points of the next starts, one each. */
  #crashes: string[]
  #isWatched = true

  constructor(options: LaunchOptions) {
    this.service = options.service
    this.instance = options.instance
    this.#options = options
    this.#crashes = options.crashAt === undefined ? [] : [options.crashAt]
    this.adminUrl = `http://127.0.0.1:${options.env[`ADMIN_PORT_${options.service.toUpperCase()}`]}`
  }

  get pid(): number {
    return this.#running().pid
  }

  get running(): boolean {
    return this.#component?.running ?? false
  }

  /** How often it was started. */
  get starts(): number {
    return this.#starts
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#component = await Component.start((stop) => this.#launch(stop), signal)
    void this.#keepUp(this.#component)
  }

  /** SIGKILL from outside; the supervisor starts it again unless `stayDown`. */
  async kill(how: { readonly stayDown?: boolean } = {}): Promise<void> {
    const component = this.#running()
    const { pid } = component
    if (how.stayDown) {
      await component.kill()
      this.#note('ended', pid, 'SIGKILL')
    } else process.kill(pid, 'SIGKILL')
  }

  /**
   * SIGKILL. The next start by the supervisor dies at the first of these crash points, the one
   * after at the second, and so on.
   */
  killInto(...points: readonly string[]): void {
    this.#crashes = [...points]
    process.kill(this.pid, 'SIGKILL')
  }

  /** SIGTERM and the wait for its end. @returns how long it took and what it ended with. */
  async stop(): Promise<{ readonly ms: number; readonly exit: Exit | null }> {
    const component = this.#running()
    const { pid } = component
    const began = performance.now()
    const ended = component.exitedWith()
    await component.stop()
    const exit = await ended
    const ms = performance.now() - began
    this.#note('stopped', pid, `${Math.round(ms)} ms, ${exit?.signal ?? `code ${exit?.code}`}`)
    return { ms, exit }
  }

  /** Starts it again after a stop or a kill that kept it down. */
  async restart(signal: AbortSignal, crashAt?: string): Promise<void> {
    this.#crashes = crashAt === undefined ? [] : [crashAt]
    await this.#running().restart(signal)
    void this.#keepUp(this.#running())
  }

  pause(): void {
    this.#running().pause()
  }

  resume(): void {
    this.#running().resume()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isWatched = false
    await this.#component?.stop()
  }

  #running(): Component {
    if (!this.#component) throw new Error(`${this.instance} was not started`)
    return this.#component
  }

  #note(event: ProcessEvent['event'], pid: number, detail: string): void {
    this.#options.note({ at: Date.now(), instance: this.instance, event, pid, detail })
  }

  /** Ends when this handle stops it on purpose, or when it no longer comes up. */
  async #keepUp(component: Component): Promise<void> {
    while (this.#isWatched) {
      const exit = await component.endedByItself()
      if (exit === null || !this.#isWatched) return
      this.#note('ended', component.pid, exit.signal ?? `code ${exit.code}`)
      await delay(RESTART_PAUSE_MS)
      if (!this.#isWatched) return
      try {
        await component.restart(AbortSignal.timeout(READY_TIMEOUT_MS))
      } catch (error) {
        if (error instanceof StoppedMeanwhile) return
        // The dependency that it needs may be away; the next round tries again.
        this.#note('ended', component.pid, error instanceof Error ? error.message.slice(0, 200) : 'unknown')
        return this.#retry(component)
      }
    }
  }

  async #retry(component: Component): Promise<void> {
    while (this.#isWatched && !component.running) {
      await delay(RESTART_PAUSE_MS)
      try {
        await component.restart(AbortSignal.timeout(READY_TIMEOUT_MS))
      } catch (error) {
        if (error instanceof StoppedMeanwhile) return
        continue
      }
      return this.#keepUp(component)
    }
  }

  async #launch(signal: AbortSignal): Promise<Child> {
    const { service, instance, place, tree, nodeOptions = [] } = this.#options
    this.#starts += 1
    const began = performance.now()
    const env = labelled(serviceEnv(service, this.#options.env), `${instance}#${this.#starts}`)
    const crashAt = this.#crashes.shift()
    const child = await Child.start(
      {
        name: instance,
        command: process.execPath,
        args: [...NODE_OPTIONS, ...nodeOptions, path.join(tree, 'services', service, 'main.ts')],
        env: { ...nodeEnv(place), ...env, ...(crashAt === undefined ? {} : { CALSTREAM_CRASH_AT: crashAt }) },
        cwd: tree,
        logFile: logFileOf(place, instance),
        stopWithinMs: STOP_WITHIN_MS,
      },
      place.ledger,
    )
    const ready = {
      probe: (stop: AbortSignal) => isReady(this.adminUrl, stop),
      port: Number(new URL(this.adminUrl).port),
    }
    try {
      // A process that meets its crash point during its start never gets ready. The supervisor
      // starts it again.
      await Promise.race([
        untilReady(child, ready, READY_TIMEOUT_MS, signal),
        ...(crashAt === undefined ? [] : [child.exited]),
      ])
    } catch (error) {
      await child.kill()
      throw error
    }
    this.#note('ready', child.pid, `${Math.round(performance.now() - began)} ms`)
    return child
  }
}

/** The process's name goes with its database sessions, so that the audit can tell who wrote. */
function labelled(env: Record<string, string>, label: string): Record<string, string> {
  const url = env['POSTGRES_URL']
  if (url === undefined) return env
  const labelledUrl = new URL(url)
  labelledUrl.searchParams.set('options', `-c drill.process=${label}`)
  return { ...env, POSTGRES_URL: labelledUrl.href }
}

async function isReady(adminUrl: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(`${adminUrl}/readyz`, { signal })
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 200)}`)
}
