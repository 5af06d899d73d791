// Seeded bugs, each a text replacement in a copy of the tree, each with the drill that must turn to
// FAIL. A drill that stays green under its mutants proves nothing. Every `find` stands in its file
// exactly once (test/unit/drills/machinery.test.ts).
import { ALONE_BUGS } from './alone-bugs.ts'
import { OTHER_BUGS } from './other-bugs.ts'
import { RESTORE_BUGS } from './restore-bugs.ts'
import { SYNC_BUGS } from './sync-bugs.ts'

export interface Mutant {
  readonly id: string
  /** What is wrong, for a person. */
  readonly what: string
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The drill that has to find it, and the smallest profile in which it does. */
  readonly drill: string
  readonly profile: 'smoke' | 'ci'
}

export const MUTANTS: readonly Mutant[] = [...SYNC_BUGS, ...OTHER_BUGS, ...ALONE_BUGS, ...RESTORE_BUGS].map(
  ([id, what, file, find, replace, drill, profile = 'smoke']) => ({
    id,
    what,
    file,
    find,
    replace,
    drill,
    profile,
  }),
)
