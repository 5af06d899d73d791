// How far long work is, for a person who waits: on stderr, so that what a command prints stays
// whole. On a terminal one line that changes, elsewhere a line now and then. Nothing for work that
// is over within a second.
import { performance } from 'node:perf_hooks'
import type { Output } from './output.ts'
import { span } from './times.ts'

export interface Progress extends Disposable {
  /** So much is done, of so much in all as it is known now. */
  at(done: number, total: number): void
}

interface Screen {
  readonly isTTY?: boolean
  write(text: string): unknown
}

interface Parts {
  readonly screen: Screen
  /** Milliseconds that only grow. */
  readonly now: () => number
}

const SILENT_MS = 1_000
const TERMINAL_EVERY_MS = 200
const LINE_EVERY_MS = 10_000
/** Before it a rate says little. */
const RATE_AFTER_MS = 2_000
/** Moves to the beginning of the line and empties it. */
const CLEAR = '\r\u001b[K'

/**
 * Begins to tell how far work is; disposing of it ends the line. With --json it tells a terminal
 * alone.
 * @param what what is counted, in the singular: "connection".
 */
export function progressOf(
  output: Pick<Output, 'isJson'>,
  what: string,
  { screen, now }: Parts = { screen: process.stderr, now: () => performance.now() },
): Progress {
  const isTerminal = screen.isTTY === true
  const startedAt = now()
  const everyMs = isTerminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS
  let toldAt = startedAt + SILENT_MS - everyMs
  let isLineOpen = false
  return {
    at(done, total) {
      if (output.isJson && !isTerminal) return
      const nowMs = now()
      if (nowMs - toldAt < everyMs) return
      toldAt = nowMs
      const text = progressWords(what, { done, total, tookMs: nowMs - startedAt })
      screen.write(isTerminal ? `${CLEAR}${text}` : `${text}\n`)
      isLineOpen = isTerminal
    },
    [Symbol.dispose]() {
      if (isLineOpen) screen.write(CLEAR)
      isLineOpen = false
    },
  }
}

/** Pure. */
export function progressWords(
  what: string,
  { done, total, tookMs }: { readonly done: number; readonly total: number; readonly tookMs: number },
): string {
  if (total <= 0) return `${grouped(done)} ${what}${done === 1 ? '' : 's'}`
  const share = Math.min(100, Math.floor((done / total) * 100))
  const leftMs = done > 0 && tookMs >= RATE_AFTER_MS ? (tookMs / done) * Math.max(0, total - done) : null
  const left = leftMs === null ? '' : `, about ${span(leftMs / 1000)} left`
  return `${grouped(done)} of ${grouped(total)} ${what}${total === 1 ? '' : 's'} (${share} %)${left}`
}

/** 1 234 567. */
function grouped(number: number): string {
  return String(number).replaceAll(/\B(?=(?:\d{3})+$)/g, ' ')
}
