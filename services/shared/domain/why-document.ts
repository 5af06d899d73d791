// `why` as the API, the command and the console tell it. Pure. Invariant: the app of a provider is
// told no more of the inside of an installation than which part of it stands still.
import { causeOf, type Cause } from './cause.ts'
import type { CauseCode } from './causes.ts'
import { isoOf } from './instant.ts'
import type { Why } from './why.ts'

export interface CauseDocument {
  readonly code: CauseCode
  readonly text: string
  readonly actor: Cause['actor']
  readonly effect: Cause['effect']
  readonly since: string | null
  readonly until: string | null
  readonly next: string
  readonly action: string
}

export interface WhyDocument {
  readonly is_up_to_date: boolean
  readonly up_to_date_as_of: string | null
  readonly causes: readonly CauseDocument[]
}

/** With RFC 3339 times. */
export function whyDocument({ isUpToDate, upToDateAsOf, causes }: Why): WhyDocument {
  return {
    is_up_to_date: isUpToDate,
    up_to_date_as_of: isoOf(upToDateAsOf),
    causes: causes.map(causeDocument),
  }
}

export function causeDocument(cause: Cause): CauseDocument {
  const { code, text, actor, effect, since, until, next, action } = cause
  return { code, text, actor, effect, since: isoOf(since), until: isoOf(until), next, action }
}

/** Their sentences name hosts, topics and partitions, or repeat what a library said. */
const OF_THE_INSIDE: ReadonlySet<CauseCode> = new Set([
  'database_away',
  'kafka_away',
  'registry_away',
  'service_ill',
  'sync_ill',
  'partition_blocked',
  'partition_unowned',
])

/** The same in the general words of the list where a cause tells of the inside. */
export function withoutInside(why: Why): Why {
  return { ...why, causes: why.causes.map(inGeneralWords) }
}

/** A cause that tells of the inside, in the words of the list; another as it is. */
export function inGeneralWords(cause: Cause): Cause {
  const { code, since, until } = cause
  return OF_THE_INSIDE.has(code) ? causeOf(code, { since, until }) : cause
}
