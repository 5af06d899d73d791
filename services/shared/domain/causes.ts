// The closed list of causes for which a connection or a calendar is not up to date. Pure.
// Invariants: the order is the rank, so of several causes the one that a person can act on comes
// first; each has one actor and one effect. docs/why.md is made of it.
import { CAUSES_THAT_PASS } from './causes-that-pass.ts'
import { CAUSES_TO_ACT_ON } from './causes-to-act-on.ts'
import type { CauseEntry } from './cause-entry.ts'

/** In the order of their rank. */
export const CAUSES = { ...CAUSES_TO_ACT_ON, ...CAUSES_THAT_PASS } as const

export type CauseCode = keyof typeof CAUSES

/** Every cause, the highest rank first. */
export const CAUSE_CODES = Object.keys(CAUSES) as readonly CauseCode[]

const RANKS: ReadonlyMap<string, number> = new Map(CAUSE_CODES.map((code, at) => [code, at]))

/** The lower is told first. */
export function rankOf(code: CauseCode): number {
  return RANKS.get(code) ?? CAUSE_CODES.length
}

/** What the list says of a cause. */
export function entryOf(code: CauseCode): CauseEntry {
  return CAUSES[code]
}
