// What the command prints: tables for a person, one JSON document with --json. Results go to stdout, trouble to stderr.

export interface Output {
  /** Prints rows as an aligned table, or as JSON. */
  rows(rows: readonly Record<string, unknown>[], empty: string): void
  /** Prints one object as `name  value` lines, or as JSON. */
  object(value: Record<string, unknown>): void
  /** Prints one value alone, so that it can be used in a command substitution; a JSON string with --json. */
  text(value: string): void
  /** Prints a line for a person; nothing with --json. */
  line(text: string): void
}

export function createOutput(json: boolean): Output {
  if (json) {
    const print = (value: unknown) => console.log(JSON.stringify(value, null, 2))
    return { rows: print, object: print, text: print, line: () => undefined }
  }
  return {
    rows: (rows, empty) => console.log(rows.length === 0 ? empty : tableOf(rows)),
    object: (value) => console.log(objectOf(value)),
    text: (value) => console.log(value),
    line: (text) => console.log(text),
  }
}

function tableOf(rows: readonly Record<string, unknown>[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const cells = rows.map((row) => columns.map((column) => textOf(row[column])))
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

function objectOf(value: Record<string, unknown>): string {
  const names = Object.keys(value)
  const width = Math.max(...names.map((name) => name.length))
  return names.map((name) => `${name.replaceAll('_', ' ').padEnd(width)}  ${textOf(value[name])}`).join('\n')
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return '–'
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string | number)
}
