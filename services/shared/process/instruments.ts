// What counts: instruments that are silent until telemetry starts, and count into every meter that
// is bound. Invariants: an instrument takes the labels that it declares, and no others; a value
// that is no longer looked at disappears, so no graph shows a number of yesterday.
import type { Attributes, Meter, MetricAdvice, ObservableResult } from '@opentelemetry/api'

export type MetricKind = 'counter' | 'up-down counter' | 'gauge' | 'histogram'

/** A metric as docs/metrics.md lists it. */
export interface MetricFacts {
  /** As OpenTelemetry has it; at /metrics a counter ends in `_total`. */
  readonly name: string
  readonly kind: MetricKind
  readonly labels: readonly string[]
  /** Those that report it, as a person says it: `sync`, `every service`. */
  readonly by: readonly string[]
  /** In one sentence, with the unit where the name does not tell it. */
  readonly meaning: string
}

type By = readonly string[]

type Value = string | number
type Labels<Label extends string> = Readonly<Record<Label, Value>>
/** Nothing for an instrument without labels, else all of them. */
type Given<Label extends string> = [Label] extends [never] ? [] : [labels: Labels<Label>]

export interface Counter<Label extends string> {
  readonly facts: MetricFacts
  add(value: number, ...labels: Given<Label>): void
}

export interface Histogram<Label extends string> {
  readonly facts: MetricFacts
  record(value: number, ...labels: Given<Label>): void
}

export interface Gauge<Label extends string> {
  readonly facts: MetricFacts
  record(value: number, ...labels: Given<Label>): void
  /** These are all values that there are: what is not among them disappears. */
  replace(values: readonly (readonly [value: number, ...labels: Given<Label>])[]): void
}

interface Live {
  bind(meter: Meter): void
  forget(): void
}

const known: Live[] = []

/** Lets every instrument count into one more meter. Called by telemetry. */
export function bindMetrics(meter: Meter): void {
  for (const instrument of known) instrument.bind(meter)
}

/** Forgets all meters: their providers end. Called by telemetry. */
export function unbindMetrics(): void {
  for (const instrument of known) instrument.forget()
}

/** Counts what happened. */
export function counter<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Counter<Label> {
  const facts: MetricFacts = { name, kind: 'counter', labels, by, meaning }
  const live = instrumentsOf((meter) => meter.createCounter(name, { description: helpOf(facts) }))
  return {
    facts,
    add: (value, ...[labels]) => live.forEach((instrument) => instrument.add(value, labels)),
  }
}

/** Counts like a counter, under a name that the exporter does not lengthen by `_total`. */
export function growing<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Counter<Label> {
  const facts: MetricFacts = { name, kind: 'up-down counter', labels, by, meaning }
  const live = instrumentsOf((meter) => meter.createUpDownCounter(name, { description: helpOf(facts) }))
  return {
    facts,
    add: (value, ...[labels]) => live.forEach((instrument) => instrument.add(Math.max(0, value), labels)),
  }
}

// Without own boundaries everything in seconds lands in the first bucket (0 … 5).
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600]
const MILLISECONDS = [
  5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000,
]

/** How long things last, in seconds. */
export function seconds<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Histogram<Label> {
  return histogram({ name, kind: 'histogram', labels, by, meaning }, SECONDS)
}

/** The same in milliseconds. */
export function milliseconds<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Histogram<Label> {
  return histogram({ name, kind: 'histogram', labels, by, meaning }, MILLISECONDS)
}

function histogram<Label extends string>(facts: MetricFacts, boundaries: number[]): Histogram<Label> {
  const advice: MetricAdvice = { explicitBucketBoundaries: boundaries }
  const options = { description: helpOf(facts), advice }
  const live = instrumentsOf((meter) => meter.createHistogram(facts.name, options))
  return {
    facts,
    record: (value, ...[labels]) => live.forEach((instrument) => instrument.record(value, labels)),
  }
}

interface Held {
  readonly value: number
  readonly labels: Attributes
  /** performance.now(). */
  readonly at: number
}

/** How long ago something happened last; it grows until that happens again. */
export interface Age<Label extends string> {
  readonly facts: MetricFacts
  /** It happened, now or so many seconds ago. Of several tellers the least age is the true one. */
  happened(secondsAgo: number, ...labels: Given<Label>): void
}

/** Shows the seconds since something happened last, as of the moment when it is asked. */
export function age<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Age<Label> {
  const facts: MetricFacts = { name, kind: 'gauge', labels, by, meaning }
  const last = new Map<string, Omit<Held, 'value'>>()
  const observe = (result: ObservableResult): void => {
    const now = performance.now()
    for (const { labels, at } of last.values()) result.observe((now - at) / 1000, labels)
  }
  known.push(observed(facts, observe, last))
  return {
    facts,
    happened(secondsAgo, ...[labels = {}]) {
      last.set(JSON.stringify(labels), { labels, at: performance.now() - secondsAgo * 1000 })
    },
  }
}

/** Shows what was recorded last under each set of labels, for what is told when it changes. */
export function gauge<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Gauge<Label> {
  return shown({ name, kind: 'gauge', labels, by, meaning }, Infinity)
}

/**
 * The same of what a loop looks at: a value that was not recorded again for a minute disappears.
 * Several looks fail before. Without an end, a scheduler that lost its lease would show its last
 * counts for ever, beside those of its successor.
 */
export function looked<const Label extends string = never>(
  name: string,
  labels: readonly Label[],
  by: By,
  meaning: string,
): Gauge<Label> {
  return shown({ name, kind: 'gauge', labels, by, meaning }, LOOKED_AT_MS)
}

const LOOKED_AT_MS = 60_000

function shown<Label extends string>(facts: MetricFacts, goneAfterMs: number): Gauge<Label> {
  const held = new Map<string, Held>()
  const observe = (result: ObservableResult): void => {
    const now = performance.now()
    for (const { value, labels, at } of held.values())
      if (now - at <= goneAfterMs) result.observe(value, labels)
  }
  known.push(observed(facts, observe, held))
  const hold = (value: number, labels: Attributes = {}): void => {
    held.set(JSON.stringify(labels), { value, labels, at: performance.now() })
  }
  return {
    facts,
    record: (value, ...[labels]) => hold(value, labels),
    replace(values) {
      held.clear()
      for (const [value, ...[labels]] of values) hold(value, labels)
    },
  }
}

function observed(
  facts: MetricFacts,
  observe: (result: ObservableResult) => void,
  held: Map<string, unknown>,
): Live {
  return {
    bind: (meter) =>
      meter.createObservableGauge(facts.name, { description: helpOf(facts) }).addCallback(observe),
    forget: () => held.clear(),
  }
}

function helpOf({ meaning, labels }: MetricFacts): string {
  return labels.length === 0 ? meaning : `${meaning}. Labels: ${labels.join(', ')}`
}

/** The live instruments of one name, one per bound meter. */
function instrumentsOf<T>(create: (meter: Meter) => T): T[] {
  const live: T[] = []
  known.push({ bind: (meter) => live.push(create(meter)), forget: () => live.splice(0) })
  return live
}
