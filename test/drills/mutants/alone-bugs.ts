// Seeded bugs in what keeps a calendar alone with its trouble and a fleet from one answer (ADR 15
// to 18), as lines of the list.
import type { Line } from './sync-bugs.ts'

const UNIT = 'services/sync/unit/'

export const ALONE_BUGS: readonly Line[] = [
  [
    'ill-for-all',
    'What one calendar met is recorded as the failure of its connection',
    `${UNIT}end.ts`,
    'if (first !== undefined && calendars.every(isIllAfter)) {',
    'if (first !== undefined && calendars.some(isIllAfter)) {',
    'ENDLESS',
    'ci',
  ],
  [
    'well-ring-dropped',
    'The ring of a well calendar is dropped while a sibling is ill',
    `${UNIT}claim-rules.ts`,
    ' : Math.min(...calendars.map((calendar) => waitMsOf(calendar, view)))',
    ' : Math.max(...view.calendars.map((calendar) => waitMsOf(calendar, view)))',
    'ENDLESS',
    'ci',
  ],
  [
    'ill-read-first',
    'An ill calendar is read before its siblings',
    `${UNIT}claim-rules.ts`,
    'if (isIll(calendar)) return 3',
    'if (isIll(calendar)) return -1',
    'ENDLESS',
    'ci',
  ],
  [
    'endless-not-seen',
    'A run that brings nothing new goes on',
    `${UNIT}leave-place.ts`,
    `page.next.kind === 'more' && leadsNowhere(progress))`,
    `page.next.kind === 'more' && leadsNowhere(progress) && run.pages < 0)`,
    'ENDLESS',
    'ci',
  ],
  [
    'place-never-left',
    'A dead place is never left',
    `${UNIT}place-rules.ts`,
    '  if (code === THROTTLED && !isOld) return []',
    '  if (code !== THROTTLED || !isOld) return []',
    'PLACE',
    'ci',
  ],
  [
    'parked-at-once',
    'The first refusal in any words parks',
    `${UNIT}judge-refusal.ts`,
    "  if (!lasts) return { kind: 'wait', isBraked: isDocumented, isWave }",
    "  if (!lasts) return { kind: 'park', isProbed: true }",
    'WAVE',
    'ci',
  ],
  [
    'no-brake',
    'A wave parks whoever is refused long enough',
    `${UNIT}judge-refusal.ts`,
    'const isHeldBack = isWave && !isDocumented && !isSmallAndOld(facts)',
    'const isHeldBack = isWave && isDocumented && !isSmallAndOld(facts)',
    'WAVE',
    'ci',
  ],
  [
    'gone-at-one-look',
    'A calendar that one list lacks is removed',
    'services/scheduler/calendars/compare.ts',
    '  if (missingForSeconds === null || missingForSeconds < MISSING_SECONDS) return false',
    '  if (missingForSeconds === null || missingForSeconds < MISSING_SECONDS) return !isSomethingNew',
    'LISTS',
    'ci',
  ],
  [
    'series-in-part',
    'A touched series of Google is believed occurrence by occurrence',
    `${UNIT}whole-series.ts`,
    'if (touched.length === 0 && before === null) return next',
    'if (touched.length >= 0) return next',
    'SERIES',
    'ci',
  ],
]
