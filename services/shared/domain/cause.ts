// One cause as it is told, and how several of them stand together. Pure.
import type { Actor, Effect } from './cause-entry.ts'
import { entryOf, rankOf, type CauseCode } from './causes.ts'
import type { Micros } from './ids.ts'

export interface Cause {
  readonly code: CauseCode
  /** What is so, in one plain sentence. */
  readonly text: string
  /** Database clock; null where it is not known. */
  readonly since: Micros | null
  /** When it passes or is tried again; null where no moment is known. */
  readonly until: Micros | null
  /** What happens without a person. */
  readonly next: string
  /** What the actor can do; empty: nothing. */
  readonly action: string
  readonly actor: Actor
  readonly effect: Effect
}

type Case = Partial<Pick<Cause, 'text' | 'since' | 'until' | 'next' | 'action'>>

/** A cause of the list; what the case does not say is said by the list. */
export function causeOf(code: CauseCode, told: Case = {}): Cause {
  const { actor, effect, means, next, action } = entryOf(code)
  return { code, text: means, since: null, until: null, next, action, ...told, actor, effect }
}

/** By rank; of one code, those that have been so for longest first. */
export function inOrder(causes: readonly Cause[]): readonly Cause[] {
  return causes.toSorted(
    (a, b) => rankOf(a.code) - rankOf(b.code) || (a.since ?? Infinity) - (b.since ?? Infinity) || 0,
  )
}

/** Whether what is stored is all that there is, as far as these causes go. */
export function isHarmless(causes: readonly Cause[]): boolean {
  return causes.every(({ effect }) => effect === 'warns')
}

/** What happens and what to do, in one text: what the reader waits for stands first. */
export function nextStepOf({ code, next, action }: Cause): string {
  const parts = entryOf(code).heals ? [next, action] : [action, next]
  return parts.filter((part) => part !== '').join(' ')
}
