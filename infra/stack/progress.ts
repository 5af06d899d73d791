// Lines for the person who waits. A line that is still changing (a download) is rewritten in place
// on a terminal, and printed every five seconds elsewhere.

const PASSING_EVERY_MS = 5_000

export class Progress {
  readonly #out: NodeJS.WriteStream
  readonly #started = performance.now()
  #lastPassing = -PASSING_EVERY_MS
  #open = false

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
    // The reader may go away (`npm start | head`); the stack goes on.
    out.on('error', () => {})
  }

  line(text: string): void {
    this.#closeOpenLine()
    this.#out.write(`${text}\n`)
  }

  /** Text that the next call replaces. */
  passing(text: string): void {
    if (this.#out.isTTY) {
      this.#out.write(`\r\u001B[K${text}`)
      this.#open = true
      return
    }
    const now = performance.now()
    if (now - this.#lastPassing < PASSING_EVERY_MS) return
    this.#lastPassing = now
    this.#out.write(`${text}\n`)
  }

  /** `✓ postgres 0.6 s` */
  done(name: string, milliseconds: number): void {
    this.line(`✓ ${name} ${seconds(milliseconds)}`)
  }

  /** Since this was made. */
  elapsedMs(): number {
    return performance.now() - this.#started
  }

  #closeOpenLine(): void {
    if (this.#open) this.#out.write('\r\u001B[K')
    this.#open = false
  }
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`
}
