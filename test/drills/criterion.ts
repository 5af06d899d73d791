// What a drill claims, and what was found about it. A number of a claim comes from one constant:
// a bound makes both its words and its judge from one limit, the name of something limits nothing,
// and a set-up says what the method worked with. The words around them hold no number of their own,
// so that no claim is stricter than its judge. The runner calls a drill INVALID when a bound of a
// criterion was not judged, or when its finding was judged by a limit that its text does not tell.

/** How a figure is written. `ms`: as a duration. `share`: as a part of a whole. */
export type Unit = 'ms' | 'MB' | 'share' | 'times'

const MADE: unique symbol = Symbol('made here')

/** A number as a criterion tells it. */
export interface Said {
  readonly [MADE]: true
  readonly text: string
}

/** A limit that a criterion tells and that judges what was found. */
export interface Bound extends Said {
  readonly limit: number
  /** Judges one figure. */
  judge(got: number, evidence: string): Finding
}

/** A claim, as criterion`…` made it. */
export interface Criterion {
  readonly [MADE]: true
  readonly text: string
  readonly bounds: readonly Bound[]
}

/** What was found about one claim. */
export interface Finding {
  readonly [MADE]: true
  readonly ok: boolean
  /** What was seen, for a person; figures included. */
  readonly evidence: string
  /** Figures for a person that judge nothing. */
  readonly notes: readonly string[]
  /** The bounds that it was judged by. */
  readonly judged: readonly Bound[]
}

interface Relation {
  readonly holds: (got: number, limit: number) => boolean
  /** The words before the figure. */
  readonly words: string
}

function bound({ holds, words }: Relation, limit: number, unit?: Unit): Bound {
  if (!Number.isFinite(limit)) throw new RangeError(`${limit} is no limit`)
  const own: Bound = {
    [MADE]: true,
    limit,
    text: [words, figure(limit, unit)].filter(Boolean).join(' '),
    judge: (got, evidence) => finding({ ok: holds(got, limit), evidence, judged: [own] }),
  }
  return own
}

/** Up to the limit itself, however it is said. */
export function atMost(
  limit: number,
  unit?: Unit,
  words: 'at most' | 'within' | 'up to' | '≤' = 'at most',
): Bound {
  return bound({ holds: (got, most) => got <= most, words }, limit, unit)
}

/** A duration, up to the limit itself. */
export function within(limitMs: number): Bound {
  return atMost(limitMs, 'ms', 'within')
}

/** Less than the limit. */
export function below(limit: number, unit?: Unit, words: 'below' | 'fewer than' = 'below'): Bound {
  return bound({ holds: (got, end) => got < end, words }, limit, unit)
}

/** From the limit itself on. */
export function atLeast(limit: number, unit?: Unit): Bound {
  return bound({ holds: (got, least) => got >= least, words: 'at least' }, limit, unit)
}

/** Beyond the limit. */
export function moreThan(limit: number, unit?: Unit, words: 'more than' | '>' = 'more than'): Bound {
  return bound({ holds: (got, end) => got > end, words }, limit, unit)
}

/** The limit and nothing else. */
export function exactly(limit: number, unit?: Unit): Bound {
  return bound({ holds: (got, only) => got === only, words: '' }, limit, unit)
}

/**
 * A number that only names something: a status of HTTP, or one word such as `4xx`. Throws
 * RangeError for anything that could be a limit.
 */
export function named(name: number | string): Said {
  const isStatus = typeof name === 'number' && Number.isInteger(name) && name >= 100 && name < 600
  const isWord = typeof name === 'string' && /^(?=.*[a-z])(?=.*\d)\S+$/i.test(name)
  if (!isStatus && !isWord) throw new RangeError(`${JSON.stringify(name)} names nothing`)
  return { [MADE]: true, text: String(name) }
}

/** What the method works with, from the constant that it uses: a load, a length, an age. */
export function setUp(value: number, unit?: Unit): Said {
  return { [MADE]: true, text: figure(value, unit) }
}

/** A percentile by its part: `p99`. */
export function percentile(part: number): Said {
  return { [MADE]: true, text: `p${plain(part * 100)}` }
}

/**
 * Makes a criterion. Throws RangeError when its words hold a number that is not put in by name, or
 * when one that judges nothing stands where a limit does.
 */
export function criterion(words: TemplateStringsArray, ...numbers: readonly Said[]): Criterion {
  const text = String.raw({ raw: words }, ...numbers.map((one) => one.text))
  for (const [index, part] of words.entries()) {
    const next = numbers[index]
    const stray = strayNumber(part) ?? (next && !isBound(next) ? limitWords(part) : null)
    if (stray !== null)
      throw new RangeError(`"${stray}" in "${text}" is judged by nothing: put it in as a bound or by name`)
  }
  return { [MADE]: true, text, bounds: numbers.filter(isBound) }
}

/** A verdict by a condition that needs no number in the text. */
export function met(ok: boolean, evidence: string): Finding {
  return finding({ ok, evidence })
}

/** All of them, as one. */
export function allOf(first: Finding, ...others: readonly Finding[]): Finding {
  const all = [first, ...others]
  return finding({
    ok: all.every(({ ok }) => ok),
    evidence: all.map(({ evidence }) => evidence).join('; '),
    notes: all.flatMap(({ notes }) => notes),
    judged: [...new Set(all.flatMap(({ judged }) => judged))],
  })
}

/** One finding for each, as one; nothing to look at is not met. */
export function each<T>(things: readonly T[], judge: (thing: T) => Finding): Finding {
  const [first, ...others] = things.map(judge)
  return first ? allOf(first, ...others) : met(false, 'nothing was there to be judged')
}

/** The finding with a figure beside it that judges nothing. */
export function noted(found: Finding, ...notes: readonly string[]): Finding {
  return finding({ ...found, notes: [...found.notes, ...notes] })
}

/** What the report shows of a finding. */
export function toldOf({ evidence, notes }: Finding): string {
  return [evidence, ...notes].join('; ')
}

/** What is wrong between a claim and its finding: a bound of one that is none of the other. */
export function mismatch({ bounds }: Criterion, { judged }: Finding): string | null {
  const unjudged = bounds.find((one) => !judged.includes(one))
  if (unjudged) return `nothing judged "${unjudged.text}"`
  const untold = judged.find((one) => !bounds.includes(one))
  return untold ? `it was judged by "${untold.text}", which its text does not tell` : null
}

function finding(parts: Partial<Finding> & Pick<Finding, 'ok' | 'evidence'>): Finding {
  return { [MADE]: true, notes: [], judged: [], ...parts }
}

function isBound(said: Said): said is Bound {
  return 'judge' in said
}

const NUMBER_WORDS =
  'two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|' +
  'ninety|hundred|thousand|million|dozen|half|halves|thirds?|quarters?|fifths?|sixths?|sevenths?|' +
  'eighths?|ninths?|tenths?|twice|thrice'
const TIMES = 'ms|second|minute|hour|day|week|month|year'
const STRAY: readonly RegExp[] = [
  /\d[\d., ]*/,
  new RegExp(String.raw`\b(?:${NUMBER_WORDS})s?\b`, 'i'),
  // "1000 a second" is a rate and "any hour" its window; "one second" and "of an hour" are lengths.
  new RegExp(String.raw`\bone (?:${TIMES})\b`, 'i'),
  new RegExp(
    String.raw`\b(?:after|at least|at most|below|for|in|of|than|under|until|up to|within) an? (?:${TIMES})\b`,
    'i',
  ),
  /\b(?:at least|at most|below|exactly|than|under|up to) one\b/i,
]

function strayNumber(words: string): string | null {
  for (const pattern of STRAY) {
    const found = pattern.exec(words)
    if (found) return found[0].trim()
  }
  return null
}

/** Words that make a limit of what follows. Not "more than": "more than 5 fires" is a condition. */
function limitWords(words: string): string | null {
  const found =
    /(?:\b(?:at least|at most|below|exactly|fewer than|no more than|under|up to|within)|[≤≥<>]) $/i.exec(
      words,
    )
  return found && found[0].trim()
}

const [SECOND_MS, MINUTE_MS, HOUR_MS] = [1_000, 60_000, 3_600_000]
const PARTS = ['half', 'a third', 'a quarter', 'a fifth', 'a sixth', 'a seventh', 'an eighth', 'a ninth']

function figure(value: number, unit?: Unit): string {
  switch (unit) {
    case undefined:
      return plain(value)
    case 'MB':
      return `${plain(value)} MB`
    case 'times':
      return value === 2 ? 'twice' : `${plain(value)} times`
    case 'share':
      return PARTS.find((_part, index) => value === 1 / (index + 2)) ?? `${plain(value * 100)} %`
    case 'ms':
      return duration(value)
  }
}

/** In the largest unit of which there are two at least. */
function duration(ms: number): string {
  if (ms < SECOND_MS) return `${plain(ms)} ms`
  if (ms < 2 * MINUTE_MS) return `${plain(ms / SECOND_MS)} s`
  return ms < 2 * HOUR_MS ? `${plain(ms / MINUTE_MS)} min` : `${plain(ms / HOUR_MS)} h`
}

function plain(value: number): string {
  return String(Number(value.toPrecision(9)))
}
