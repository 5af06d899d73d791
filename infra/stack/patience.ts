// Waits that tell the person in front of them what they wait for and until when, and that no
// trouble of a check ends: what fails is said in one line and tried again until the time is over.
import { setTimeout as delay } from 'node:timers/promises'
import { UserError } from '#shared/process/user-error.ts'
import { seconds } from './progress.ts'

const POLL_MS = 500
/** How often a wait says that it still waits. */
const SAY_EVERY_MS = 15_000
const WORDS_MAX = 300

export interface WaitOptions {
  /** What has to come true, as a noun: "Waiting for <what>". */
  readonly what: string
  readonly withinMs: number
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

/** One wait with one deadline. */
export class Wait {
  readonly #options: WaitOptions
  readonly #deadline: number
  #sayNext: number
  #said = ''

  constructor(options: WaitOptions) {
    this.#options = options
    this.#deadline = Date.now() + options.withinMs
    this.#sayNext = Date.now() + SAY_EVERY_MS
  }

  get isOver(): boolean {
    return Date.now() >= this.#deadline
  }

  /** The end of the wait as a person's clock shows it. */
  get until(): string {
    return new Date(this.#deadline).toTimeString().slice(0, 8)
  }

  /**
   * Pauses before the next look; `left` is what is missing still, said every 15 s.
   * Throws when the signal fires.
   */
  async pause(left: string): Promise<void> {
    if (Date.now() >= this.#sayNext) {
      this.#sayNext = Date.now() + SAY_EVERY_MS
      this.#options.say(`  Waiting for ${this.#options.what} until ${this.until}: ${left}.`)
    }
    await delay(POLL_MS, undefined, { signal: this.#options.signal })
  }

  /**
   * What `work` resolves with, tried until it does. Its trouble is said once, in one line. Throws a
   * UserError when the time is over, and the signal's reason when that fires.
   */
  async attempt<T>(work: () => Promise<T>): Promise<T> {
    const { what, withinMs, say, signal } = this.#options
    for (;;) {
      try {
        return await work()
      } catch (error) {
        signal.throwIfAborted()
        const words = briefly(error)
        if (this.isOver) throw new UserError(`Waited ${seconds(withinMs)} for ${what}: ${words}`)
        if (words !== this.#said) say(`  Waiting for ${what}, tried again until ${this.until}: ${words}`)
        this.#said = words
        await delay(POLL_MS, undefined, { signal })
      }
    }
  }
}

/** An error in one line, its cause included: "fetch failed" alone tells nobody anything. */
export function briefly(error: unknown): string {
  const words: string[] = []
  for (let next: unknown = error; next instanceof Error && words.length < 3; next = next.cause) {
    const inner = next instanceof AggregateError ? (next.errors as unknown[])[0] : null
    const text = next.message || (inner instanceof Error ? inner.message : '') || next.name
    if (!words.includes(text)) words.push(text)
  }
  const line = (words.length > 0 ? words.join(': ') : String(error)).replaceAll(/\s+/g, ' ').trim()
  return line.length > WORDS_MAX ? `${line.slice(0, WORDS_MAX)} …` : line
}
