// A part of the stack that can be stopped, killed, frozen and started again on the same data and
// the same ports: what `npm start`, tests and drills hold in their hands. The pid changes with
// every start; the addresses never do.
import type { Child, Exit } from './child.ts'

/** A start that somebody else stopped, or began anew, before it was ready. */
export class StoppedMeanwhile extends Error {
  override readonly name = 'StoppedMeanwhile'
}

/** Starts the process and resolves when it is ready; must leave nothing running when it throws. */
export type Launch = (signal: AbortSignal) => Promise<Child>

export class Component implements AsyncDisposable {
  readonly name: string
  readonly #launch: Launch
  #child: Child
  /** Those that were asked to end through this handle. */
  readonly #asked = new WeakSet<Child>()
  /** Under way from a restart until it is ready. */
  #starting: { readonly abort: AbortController; readonly over: Promise<unknown> } | null = null

  private constructor(launch: Launch, child: Child) {
    this.name = child.name
    this.#launch = launch
    this.#child = child
  }

  static async start(launch: Launch, signal: AbortSignal): Promise<Component> {
    return new Component(launch, await launch(signal))
  }

  get pid(): number {
    return this.#child.pid
  }

  get running(): boolean {
    return this.#child.running
  }

  /** Ends in order; killed if it takes too long. One that is not ready yet is killed. */
  async stop(): Promise<void> {
    this.#asked.add(this.#child)
    await this.#endStart()
    await this.#child.stop()
  }

  /** SIGKILL, as a power cut would. */
  async kill(): Promise<void> {
    this.#asked.add(this.#child)
    await this.#endStart()
    await this.#child.kill()
  }

  /** SIGSTOP: the process stays, holds its connections and answers nothing. */
  pause(): void {
    this.#child.signal('SIGSTOP')
  }

  resume(): void {
    this.#child.signal('SIGCONT')
  }

  /**
   * Starts it again where it was; stops it first if it runs or starts: there is one at a time.
   * Resolves when ready. Throws StoppedMeanwhile.
   */
  async restart(signal: AbortSignal): Promise<void> {
    await this.stop()
    const abort = new AbortController()
    const launch = this.#launch(AbortSignal.any([signal, abort.signal]))
    const starting = { abort, over: launch.catch(() => {}) }
    this.#starting = starting
    try {
      this.#child = await launch
    } catch (error) {
      throw abort.signal.aborted ? new StoppedMeanwhile() : error
    } finally {
      if (this.#starting === starting) this.#starting = null
    }
  }

  /** What the current process ends with, whoever ended it. */
  exitedWith(): Promise<Exit> {
    return this.#child.exited
  }

  /**
   * Resolves when the current process ends although nobody asked it to through this
   * handle; null when somebody did.
   */
  async endedByItself(): Promise<Exit | null> {
    const child = this.#child
    const exit = await child.exited
    return this.#asked.has(child) ? null : exit
  }

  /** A launch leaves nothing running when it is aborted. */
  async #endStart(): Promise<void> {
    this.#starting?.abort.abort()
    await this.#starting?.over
    this.#asked.add(this.#child)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
