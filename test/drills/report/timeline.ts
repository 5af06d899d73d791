// The timeline of one drill as a picture: load, fault windows, backlog, freshness over equal
// seconds.
import { escape } from 'html-escaper'
import { forwardRows } from '../checkers/transactions.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'

const WIDTH = 900
const LANE = 70
const LEFT = 100
const RIGHT = 10
const TOP = 66
const GAP = 26
/** A point every other pixel; longer runs show several seconds in one. */
const POINTS_MAX = 400
const TITLE_LINE_MAX = 110
/** Samples come about once a second. */
const GAP_SECONDS = 3
const TICKS_MAX = 10
const TICK_SECONDS = [5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600]

interface Series {
  readonly name: string
  readonly unit: string
  /** Second since the start → value. */
  readonly points: ReadonlyMap<number, number>
  /** What a second without a value means: nothing happened, or nothing is known. */
  readonly gaps: 'zero' | 'unknown'
  readonly colour: string
}

/**
 * An SVG, as text. Of several seconds in one point the greatest counts. Where nothing is known, the
 * line is broken.
 */
export function timelineSvg(title: string, ledgers: Ledgers): string {
  const from = ledgers.marks.startedAt
  const seconds = Math.max(1, Math.ceil((ledgers.marks.endedAt - from) / 1_000))
  const lanes = seriesOf(ledgers, from)
  const bottom = TOP + lanes.length * (LANE + GAP)
  const x = (second: number) => LEFT + (Math.min(second, seconds) / seconds) * (WIDTH - LEFT - RIGHT)
  const faults = ledgers.nemesis.map(({ fault, action, startedAt, endedAt }) => {
    const [low, high] = [(startedAt - from) / 1_000, ((endedAt ?? ledgers.marks.endedAt) - from) / 1_000]
    const width = Math.max(1.5, x(high) - x(low))
    return `<rect x="${x(low).toFixed(1)}" y="${TOP - 8}" width="${width.toFixed(1)}" height="${bottom - TOP}" fill="#d33" opacity="0.13"><title>${escape(`${fault} ${action}`)}</title></rect>`
  })
  const drawn = lanes.map((series, index) => lane(series, { x, seconds, top: TOP + index * (LANE + GAP) }))
  const heads = wrapped(title).map(
    (line, index) => `<text x="10" y="${18 + index * 16}" font-size="13">${escape(line)}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${bottom + 20}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
${heads.join('\n')}
<text x="10" y="51" fill="#666">${seconds} s; red: a fault is active</text>
${faults.join('\n')}
${drawn.join('\n')}
${ticks(seconds, x, bottom)}
</svg>
`
}

/** At most two lines; what does not fit is cut. */
function wrapped(title: string): readonly string[] {
  if (title.length <= TITLE_LINE_MAX) return [title]
  const at = title.lastIndexOf(' ', TITLE_LINE_MAX)
  const rest = title.slice(at + 1)
  return [title.slice(0, at), rest.length > TITLE_LINE_MAX ? `${rest.slice(0, TITLE_LINE_MAX)} …` : rest]
}

function ticks(seconds: number, x: (second: number) => number, bottom: number): string {
  const step = TICK_SECONDS.find((one) => seconds / one <= TICKS_MAX) ?? 7_200
  const unit = step < 60 ? { name: 's', length: 1 } : { name: 'min', length: 60 }
  return Array.from({ length: Math.floor(seconds / step) + 1 }, (_, index) => index * step)
    .map(
      (at) =>
        `<text x="${x(at).toFixed(1)}" y="${bottom + 8}" text-anchor="middle" fill="#666">${at / unit.length} ${unit.name}</text>`,
    )
    .join('\n')
}

interface Frame {
  readonly x: (second: number) => number
  readonly seconds: number
  readonly top: number
}

function lane({ name, unit, points, gaps, colour }: Series, { x, seconds, top }: Frame): string {
  const max = Math.max(1, ...points.values())
  const y = (value: number) => top + LANE - (value / max) * (LANE - 12)
  const step = Math.ceil(seconds / POINTS_MAX)
  const pieces: string[][] = [[]]
  let known = 0
  for (let at = 0; at < seconds; at += step) {
    const values = Array.from({ length: step }, (_, index) => points.get(at + index)).filter(
      (value) => value !== undefined,
    )
    if (values.length > 0) known = at
    if (values.length > 0 || gaps === 'zero')
      pieces.at(-1)?.push(`${x(at).toFixed(1)},${y(Math.max(0, ...values)).toFixed(1)}`)
    else if (at - known > GAP_SECONDS && (pieces.at(-1)?.length ?? 0) > 0) pieces.push([])
  }
  // The round cap shows a single point too.
  const line = pieces
    .filter((piece) => piece.length > 0)
    .map((piece) => `M${piece.join(' ')}${piece.length === 1 ? 'h0.1' : ''}`)
  return `<text x="10" y="${top + 12}">${escape(name)}</text>
<text x="10" y="${top + 26}" fill="#666">max ${max < 10 ? max.toFixed(1) : Math.round(max)} ${unit}</text>
<line x1="${LEFT}" y1="${top + LANE}" x2="${x(seconds).toFixed(1)}" y2="${top + LANE}" stroke="#ccc"/>
<path d="${line.join('')}" fill="none" stroke="${colour}" stroke-width="1.5" stroke-linecap="round"/>`
}

function seriesOf(ledgers: Ledgers, from: number): readonly Series[] {
  const second = (at: number) => Math.floor((at - from) / 1_000)
  // Before the steady state it is the accounts that are made.
  const made = ledgers.changes.filter(({ at }) => at >= ledgers.marks.steadyAt)
  const changes = count(made.map(({ at }) => second(at)))
  const calls = count(ledgers.calls.map(({ start }) => second(start)))
  const backlog = new Map(
    ledgers.load.map(({ at, outbox, dirty, held }) => [second(at), outbox + dirty + held]),
  )
  return [
    { name: 'changes', unit: '/s', points: changes, gaps: 'zero', colour: '#2a6' },
    { name: 'API calls', unit: '/s', points: calls, gaps: 'zero', colour: '#26a' },
    { name: 'backlog', unit: 'rows', points: backlog, gaps: 'unknown', colour: '#a62' },
    {
      name: 'freshness p95',
      unit: 's',
      points: freshness(ledgers, second),
      gaps: 'unknown',
      colour: '#82a',
    },
  ]
}

/** From the change at the vendor until its row was committed. */
function freshness(ledgers: Ledgers, second: (at: number) => number): ReadonlyMap<number, number> {
  const madeAt = new Map<string, number>()
  for (const { eventIds, etag, at } of ledgers.changes)
    for (const id of eventIds) madeAt.set(`${id} ${etag}`, at)
  const samples = new Map<number, number[]>()
  for (const { at, new: row } of forwardRows({ rows: ledgers.audit })) {
    const made = madeAt.get(`${String(row?.['vendor_event_id'])} ${String(row?.['etag'])}`)
    if (made === undefined || made < ledgers.marks.steadyAt) continue
    const bucket = samples.get(second(at)) ?? []
    samples.set(second(at), bucket)
    bucket.push((at - made) / 1_000)
  }
  return new Map(
    [...samples].map(([at, values]) => [
      at,
      values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.95)] ?? 0,
    ]),
  )
}

function count(seconds: readonly number[]): ReadonlyMap<number, number> {
  const found = new Map<number, number>()
  for (const second of seconds) found.set(second, (found.get(second) ?? 0) + 1)
  return found
}
