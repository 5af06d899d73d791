// A value that may change while the process runs: its file is read again at each use. So a
// password, a key or a certificate is changed by writing its file, without a restart.
import { readFileSync } from 'node:fs'
import { Secret } from './secret.ts'

/** `forgotten`: the last but one; the last may still be in use somewhere. */
type Changed = (value: string, forgotten: string | null) => void

export class FileSecret extends Secret {
  readonly #file: string
  readonly #changed: Changed
  #last: string
  #before: string | null = null

  /**
   * @param file is read at each `reveal()`.
   * @param first what was read of it at the start.
   * @param changed hears of every value before it is first given away: it is a secret too.
   */
  constructor(file: string, first: string, changed: Changed) {
    super('')
    this.#file = file
    this.#last = first
    this.#changed = changed
  }

  /** What the file holds now; while it is missing or empty, the last that it held. */
  override reveal(): string {
    const now = readValue(this.#file)
    if (now !== null && now !== '' && now !== this.#last) {
      this.#changed(now, this.#before)
      this.#before = this.#last
      this.#last = now
    }
    return this.#last
  }
}

/**
 * Editors and `echo` end a file with a newline that is not part of the value.
 * Throws what the system says.
 */
export function valueIn(file: string): string {
  return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
}

function readValue(file: string): string | null {
  try {
    return valueIn(file)
  } catch {
    return null
  }
}
