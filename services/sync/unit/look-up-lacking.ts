// What a full read lacked is not believed to be gone by that alone: a few events are asked for one
// by one, of more a second full read decides. Invariant: an event inside the window is removed
// after a full read only when a second answer says the same.
import { asFailure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import {
  countUnseen,
  readUnseen,
  refreshEvents,
  type StaleRows,
  type UnseenEvent,
} from '#shared/store/events.ts'
import { listedShort } from './events.ts'
import type { CalendarRun } from './read-run.ts'
import { AccountTrouble, lookUp } from './fetch-page.ts'
import type { Permit } from '../lanes.ts'
import { writeFenced, type Interruption, type Unit, type UnitDeps } from './unit.ts'

/**
 * So many calls at most, once after a full read: some seconds at a slow vendor. More is put off
 * instead.
 */
export const LOOK_UPS_MAX = 20
/**
 * A full read that lacks more of what is held than this is not believed, however little is held:
 * two of three events, too.
 */
const MASS_DELETE_SHARE = 0.5

/** `believed`: what is lacking is gone. `doubted`: a second full read has to agree. */
export type Lacking = 'believed' | 'doubted' | Interruption

/**
 * Judges what a full read lacked; events that are there after all are marked as seen. Throws
 * Failure, AccountTrouble.
 */
export async function judgeLacking(
  deps: UnitDeps,
  unit: Unit,
  { run, stale }: { readonly run: CalendarRun; readonly stale: StaleRows },
  permit: Permit,
): Promise<Lacking> {
  const { unseen, all } = await countUnseen(deps.db, stale)
  if (unseen === 0) return 'believed'
  if (unseen > LOOK_UPS_MAX || unseen > all * MASS_DELETE_SHARE) return 'doubted'
  const there: UnseenEvent[] = []
  for (const event of await readUnseen(deps.db, stale, LOOK_UPS_MAX)) {
    const answer = await asked(deps, unit, { run, event }, permit)
    if (answer === 'there') there.push(event)
    else if (answer !== 'gone') return answer
  }
  if (there.length > 0) await keep(deps, unit, run, there)
  return 'believed'
}

/** A vendor that does not say of single events whether they are there has its second full read. */
async function asked(
  deps: UnitDeps,
  unit: Unit,
  { run, event }: { readonly run: CalendarRun; readonly event: UnseenEvent },
  permit: Permit,
): Promise<'there' | 'gone' | 'doubted' | Interruption> {
  try {
    return await lookUp(deps, unit, { run, permit }, event.vendorEventId)
  } catch (error) {
    if (permit.signal.aborted || permit.stopping.aborted || error instanceof AccountTrouble) throw error
    if (!settlementOf(asFailure(error)).isOfCalendar) throw error
    return 'doubted'
  }
}

async function keep(
  deps: UnitDeps,
  unit: Unit,
  { calendar, generation }: CalendarRun,
  there: readonly UnseenEvent[],
): Promise<void> {
  await writeFenced(deps, unit, 0, ({ tx }) =>
    refreshEvents(
      tx,
      there.map(({ eventId }) => eventId),
      generation,
    ),
  )
  listedShort(deps, unit, { calendarId: calendar.calendarId, events: there.length })
}
