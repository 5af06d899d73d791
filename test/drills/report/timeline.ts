// The timeline of one drill as a picture: load, fault windows, backlog and freshness over the same seconds.
import { forwardRows } from '../checkers/transactions.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'

const WIDTH = 900
const LANE = 70
const LEFT = 90
const GAP = 26

interface Series {
  readonly name: string
  readonly unit: string
  /** Second since the start → value. */
  readonly points: ReadonlyMap<number, number>
  readonly colour: string
}

/** An SVG, as text. Seconds without a value are left out of a line. */
export function timelineSvg(title: string, ledgers: Ledgers): string {
  const from = ledgers.marks.startedAt
  const seconds = Math.max(1, Math.ceil((ledgers.marks.endedAt - from) / 1_000))
  const lanes = seriesOf(ledgers, from)
  const height = 60 + lanes.length * (LANE + GAP)
  const x = (second: number) => LEFT + (second / seconds) * (WIDTH - LEFT - 10)
  const faults = ledgers.nemesis.map(({ fault, action, startedAt, endedAt }) => {
    const [low, high] = [(startedAt - from) / 1_000, ((endedAt ?? ledgers.marks.endedAt) - from) / 1_000]
    const width = Math.max(1.5, x(high) - x(low))
    return `<rect x="${x(low).toFixed(1)}" y="40" width="${width.toFixed(1)}" height="${height - 60}" fill="#d33" opacity="0.13"><title>${escape(`${fault} ${action}`)}</title></rect>`
  })
  const drawn = lanes.map((series, index) => lane(series, { x, seconds, top: 48 + index * (LANE + GAP) }))
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="10" y="18" font-size="14">${escape(title)}</text>
<text x="10" y="33" fill="#666">${seconds} s; red: a fault is active</text>
${faults.join('\n')}
${drawn.join('\n')}
</svg>
`
}

interface Frame {
  readonly x: (second: number) => number
  readonly seconds: number
  readonly top: number
}

function lane({ name, unit, points, colour }: Series, { x, seconds, top }: Frame): string {
  const max = Math.max(1, ...points.values())
  const y = (value: number) => top + LANE - (value / max) * (LANE - 12)
  const line = [...points]
    .toSorted(([a], [b]) => a - b)
    .map(([second, value]) => `${x(second).toFixed(1)},${y(value).toFixed(1)}`)
    .join(' ')
  return `<text x="10" y="${top + 12}">${escape(name)}</text>
<text x="10" y="${top + 26}" fill="#666">max ${max < 10 ? max.toFixed(1) : Math.round(max)} ${unit}</text>
<line x1="${LEFT}" y1="${top + LANE}" x2="${x(seconds).toFixed(1)}" y2="${top + LANE}" stroke="#ccc"/>
<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="1.5"/>`
}

function seriesOf(ledgers: Ledgers, from: number): readonly Series[] {
  const second = (at: number) => Math.floor((at - from) / 1_000)
  const changes = count(ledgers.changes.map(({ at }) => second(at)).filter((at) => at >= 0))
  const calls = count(ledgers.calls.map(({ start }) => second(start)))
  const backlog = new Map(
    ledgers.load.map(({ at, outbox, dirty, held }) => [second(at), outbox + dirty + held]),
  )
  return [
    { name: 'changes', unit: '/s', points: changes, colour: '#2a6' },
    { name: 'API calls', unit: '/s', points: calls, colour: '#26a' },
    { name: 'backlog', unit: 'rows', points: backlog, colour: '#a62' },
    { name: 'freshness p95', unit: 's', points: freshness(ledgers, second), colour: '#82a' },
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

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
