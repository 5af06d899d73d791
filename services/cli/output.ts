// What the command prints: tables for a person, one JSON document with --json. Results go to
// stdout, trouble to stderr. Invariant: labels, names and errors are strangers' text, and no
// character of theirs steers a terminal.
import { instantWords } from './times.ts'

export interface Output {
  readonly isJson: boolean
  /** Prints rows as an aligned table, or as JSON. */
  rows(rows: readonly object[], empty?: string): void
  /** Prints one object as `name  value` lines, or as JSON. */
  object(value: object): void
  /**
   * Prints one value alone, so that it can be used in a command substitution;
   * a JSON string with --json.
   */
  text(value: string): void
  /** Prints a line for a person; nothing with --json. */
  line(text: string): void
  /** Prints one of many that come one by one: a line for a person, or one line of JSON. */
  entry(entry: { readonly line: string; readonly document: unknown }): void
  /** Prints lines for a person, or a document as JSON. */
  report(lines: () => readonly string[], document: unknown): void
}

export function createOutput(json: boolean): Output {
  if (json) {
    // What steers a terminal is inside a string of the document, where an escape means the same.
    const print = (value: unknown) => console.log(harmless(JSON.stringify(value, null, 2)))
    return {
      isJson: true,
      rows: print,
      object: print,
      text: print,
      line: () => undefined,
      entry: ({ document }) => console.log(harmless(JSON.stringify(document))),
      report: (_lines, document) => print(document),
    }
  }
  return {
    isJson: false,
    rows: (rows, empty = '') => console.log(harmless(rows.length === 0 ? empty : tableOf(rows))),
    object: (value) => console.log(harmless(objectOf(value))),
    text: (value) => console.log(harmless(value)),
    line: (text) => console.log(harmless(text)),
    entry: ({ line }) => console.log(oneLine(line)),
    report: (lines) => console.log(lines().map(oneLine).join('\n')),
  }
}

/** Tells a person on stderr what went wrong. */
export function complain(text: string): void {
  process.stderr.write(`${harmless(text)}\n`)
}

/**
 * Unicode's category C but for line feeds: control characters (cursor, colour, title,
 * clipboard of a terminal), what turns the direction of text, what is invisible, halves of
 * pairs; and two that end a line.
 */
const STEERING = /[^\P{C}\n]|[\u2028\u2029]/gu

/** The text with every character that steers a terminal written as \\uXXXX; line feeds stay. */
export function harmless(text: string): string {
  return text.replace(STEERING, (found) =>
    found.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )
}

/** The same for a cell, which has one line. */
function oneLine(text: string): string {
  return harmless(text).replaceAll('\n', '\\u000a')
}

function tableOf(rows: readonly object[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const cells = rows.map((row) => {
    const fields = new Map<string, unknown>(Object.entries(row))
    return columns.map((column) => textOf(fields.get(column)))
  })
  const widths = columns.map((column, i) =>
    Math.max(column.length, ...cells.map((line) => line[i]?.length ?? 0)),
  )
  const format = (line: readonly string[]) =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  return [format(columns.map((column) => column.replaceAll('_', ' '))), ...cells.map(format)].join('\n')
}

function objectOf(value: object): string {
  const fields: [string, unknown][] = Object.entries(value)
  const width = Math.max(...fields.map(([name]) => name.length))
  return fields.map(([name, one]) => `${name.replaceAll('_', ' ').padEnd(width)}  ${textOf(one)}`).join('\n')
}

function textOf(value: unknown): string {
  return oneLine(plainOf(value))
}

function plainOf(value: unknown): string {
  if (value === null || value === undefined) return '–'
  if (value instanceof Date) return plainOf(value.toISOString())
  if (typeof value === 'string') return instantWords(value, Date.now()) ?? value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string | number)
}
