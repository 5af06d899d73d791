// A part of the stack that can be stopped, killed, frozen and started again on the same data and
// the same ports: what `npm start`, tests and drills hold in their hands. The pid changes with
// every start; the addresses never do.
import type { Child, Exit } from './child.ts'

/** Starts the process and resolves when it is ready; must leave nothing running when it throws. */
export type Launch = (signal: AbortSignal) => Promise<Child>

export class Component implements AsyncDisposable {
  readonly name: string
  readonly #launch: Launch
  #child: Child
  #wanted = true

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

  /** Ends in order; killed if it takes too long. */
  async stop(): Promise<void> {
    this.#wanted = false
    await this.#child.stop()
  }

  /** SIGKILL, as a power cut would. */
  async kill(): Promise<void> {
    this.#wanted = false
    await this.#child.kill()
  }

  /** SIGSTOP: the process stays, holds its connections and answers nothing. */
  pause(): void {
    this.#child.signal('SIGSTOP')
  }

  resume(): void {
    this.#child.signal('SIGCONT')
  }

  /** Starts it again where it was; stops it first if it runs. Resolves when ready. */
  async restart(signal: AbortSignal): Promise<void> {
    await this.stop()
    this.#child = await this.#launch(signal)
    this.#wanted = true
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
    const exit = await this.#child.exited
    return this.#wanted ? exit : null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
