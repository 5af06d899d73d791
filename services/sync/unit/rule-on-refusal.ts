// What a unit that was refused writes: parked, or tried again and how soon. The verdict is of
// judge-refusal.ts; here it meets the database, the metrics and the log.
import type { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/store/database.ts'
import { noteRefusal, probeParkedLately } from '#shared/store/refusals.ts'
import { manyRefused, parkHeldBack } from './events.ts'
import { judgeRefusal, REFUSED_MS_MIN } from './judge-refusal.ts'
import { settleUnit } from './settle.ts'
import type { Unit, UnitDeps } from './unit.ts'

export interface Ruling {
  readonly isParked: boolean
  /** Of a parked one: it is asked about again. */
  readonly isProbed: boolean
  /**
   * The next try comes within so many ms, however long the streak is; null: as the backoff says.
   */
  readonly soonMs: number | null
}

/** A wave ends for all at once, and everybody is to be well within a minute of its end. */
const WAVE_SOON_MS = 30_000
/**
 * Until a refusal lasts it may be a moment's:
 * ours, as a project that was switched off by mistake, or the vendor's.
 */
const SOON_MS = 60_000
const CLIENT_SOON_MS = 30_000
/** One line in the log tells of everybody who is held back meanwhile. */
const LOG_EVERY_MS = 300_000
const loggedAt = new Map<VendorName, number>()

/** Rules on a failed unit. Under the fence. Throws Failure `store/*`. */
export async function ruleOnRefusal(
  deps: Pick<UnitDeps, 'logger'>,
  tx: Queryable,
  unit: Pick<Unit, 'connection'>,
  { failure, mayPark }: { readonly failure: Failure; readonly mayPark: boolean },
): Promise<Ruling> {
  const soonMs = failure.code === 'vendor/client-rejected' ? CLIENT_SOON_MS : null
  const onward: Ruling = { isParked: false, isProbed: false, soonMs }
  if (!mayPark || settleUnit(failure) !== 'judge') return onward
  const { connectionId, vendor } = unit.connection
  const facts = await noteRefusal(tx, connectionId)
  const verdict = judgeRefusal(failure, facts)
  if (verdict.kind === 'park') return { isParked: true, isProbed: verdict.isProbed, soonMs: null }
  if (verdict.isBraked) await holdBack(deps, tx, { vendor, failure, connections: facts.peers + 1 })
  if (verdict.isWave) return { ...onward, soonMs: WAVE_SOON_MS }
  return facts.refusedMs < REFUSED_MS_MIN ? { ...onward, soonMs: SOON_MS } : onward
}

async function holdBack(
  deps: Pick<UnitDeps, 'logger'>,
  tx: Queryable,
  held: { readonly vendor: VendorName; readonly failure: Failure; readonly connections: number },
): Promise<void> {
  const { vendor, failure, connections } = held
  const { code } = failure
  parkHeldBack(vendor, code)
  // Those who were parked before it showed that everybody is refused are doubted too.
  if (settlementOf(failure).action === 'park') await probeParkedLately(tx, vendor)
  const now = performance.now()
  if (now - (loggedAt.get(vendor) ?? Number.NEGATIVE_INFINITY) < LOG_EVERY_MS) return
  loggedAt.set(vendor, now)
  manyRefused(deps, { vendor, code, connections })
}
