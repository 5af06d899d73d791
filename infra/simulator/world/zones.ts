// Time zones: the offset of an IANA zone at an instant, and the instant of a wall-clock time.
// Offsets are looked up in a table of transitions built once per zone, because asking Intl for
// every occurrence of a series costs more than the series.

interface Transition {
  readonly from: number
  readonly offsetMs: number
}

const TABLE_START = Date.UTC(2010, 0, 1)
const TABLE_END = Date.UTC(2046, 0, 1)
/**
 * No zone changes its offset twice within a week (the shortest known pair is Ramadan time in
 * Morocco, about 30 days).
 */
const STEP_MS = 7 * 86_400_000

const tables = new Map<string, readonly Transition[]>()

/** Whether Intl knows the zone. */
export function isZone(zone: string): boolean {
  if (zone === 'UTC' || tables.has(zone)) return true
  try {
    tableOf(zone)
    return true
  } catch {
    return false
  }
}

/** Milliseconds that the zone's wall clock is ahead of UTC at an instant (ms epoch). */
export function offsetAt(zone: string, instant: number): number {
  if (zone === 'UTC') return 0
  const table = tableOf(zone)
  let low = 0
  let high = table.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((table[middle]?.from ?? 0) <= instant) low = middle
    else high = middle - 1
  }
  return table[low]?.offsetMs ?? 0
}

/**
 * The instant at which the zone's wall clock shows `wall` (the wall time
 * written as if it were UTC, ms).
 */
export function instantOf(zone: string, wall: number): number {
  const guess = wall - offsetAt(zone, wall)
  return wall - offsetAt(zone, guess)
}

/**
 * The first instant of a day (ms, its midnight written as if it were UTC) in a zone: later than 0
 * o'clock where the clock skips that.
 */
export function dayStart(zone: string, day: number): number {
  const at = instantOf(zone, day)
  const wall = at + offsetAt(zone, at)
  return wall < day ? at + (day - wall) : at
}

/** RFC 3339 with the zone's offset, whole seconds: `2026-12-01T11:00:00+01:00`. */
export function formatIn(zone: string, instant: number): string {
  const offsetMs = offsetAt(zone, instant)
  const wall = new Date(instant + offsetMs).toISOString().slice(0, 19)
  if (offsetMs === 0) return `${wall}Z`
  const minutes = Math.abs(offsetMs) / 60_000
  const hh = String(Math.floor(minutes / 60)).padStart(2, '0')
  const mm = String(minutes % 60).padStart(2, '0')
  return `${wall}${offsetMs < 0 ? '-' : '+'}${hh}:${mm}`
}

function tableOf(zone: string): readonly Transition[] {
  const known = tables.get(zone)
  if (known) return known
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  const transitions: Transition[] = [{ from: -Infinity, offsetMs: readOffset(format, TABLE_START) }]
  let previous = transitions[0]?.offsetMs ?? 0
  for (let at = TABLE_START + STEP_MS; at < TABLE_END; at += STEP_MS) {
    const offsetMs = readOffset(format, at)
    if (offsetMs !== previous) transitions.push({ from: findChange(format, at - STEP_MS, at), offsetMs })
    previous = offsetMs
  }
  tables.set(zone, transitions)
  return transitions
}

function findChange(format: Intl.DateTimeFormat, before: number, after: number): number {
  const target = readOffset(format, after)
  let low = before
  let high = after
  while (high - low > 60_000) {
    const middle = Math.floor((low + high) / 120_000) * 60_000
    if (readOffset(format, middle) === target) high = middle
    else low = middle
  }
  return high
}

function readOffset(format: Intl.DateTimeFormat, instant: number): number {
  const match = /GMT([+-])(\d\d):(\d\d)/.exec(format.format(instant))
  if (!match) return 0
  const minutes = Number(match[2]) * 60 + Number(match[3])
  return (match[1] === '-' ? -minutes : minutes) * 60_000
}
