// Seeded bugs in what follows a restore (ADR 22), as lines of the list.
import type { Line } from './sync-bugs.ts'

export const RESTORE_BUGS: readonly Line[] = [
  [
    'stream-not-heard',
    'After a restore events are forgotten that the stream alone knows',
    'services/cli/told.ts',
    'if (row === undefined ? state.value !== null : state.sequence > row)',
    'if (row !== undefined && state.sequence > row)',
    'RESTORE',
    'ci',
  ],
  [
    'numbers-used-again',
    'After a restore numbers are used again that readers have passed',
    'services/shared/store/restore.ts',
    'version = greatest(version, $2)',
    'version = greatest(version, 0 * $2::bigint)',
    'RESTORE',
    'ci',
  ],
  [
    'passed-published-again',
    'After a restore messages are published again above what came later',
    'services/shared/store/restore.ts',
    "(headers ->> 'ce_sequence')::bigint <= $4",
    "(headers ->> 'ce_sequence')::bigint <= $4 - 1000000000",
    'RESTORE',
    'ci',
  ],
]
