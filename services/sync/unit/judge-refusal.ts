// Whether a refusal parks a connection, or how soon it is tried again: the one place that decides
// what a person has to mend. The facts are of store/refusals.ts, the words of
// vendors/grant-words.ts. Invariants: one answer parks only in documented words; anything else
// parks only after half an hour with three fresh tokens, when everything of the account was refused
// meanwhile; when many connections of a vendor are refused together none is parked, for then it is
// the vendor's trouble or our own there. See ADR 17.
import { performance } from 'node:perf_hooks'
import type { Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/store/database.ts'
import { noteRefusal, probeParkedLately } from '#shared/store/refusals.ts'
import { manyRefused, parkHeldBack } from './moments.ts'
import type { Unit, UnitDeps } from './unit.ts'

/** In undocumented words: how long, and how many fresh tokens. */
export const REFUSED_MS_MIN = 30 * 60_000
export const REFUSED_TOKENS_MIN = 3
/** This many connections of a vendor, refused since about the same time, are a wave. */
export const WAVE_MIN = 3
/** A wave of this share of a vendor's connections parks none of them, however long it lasts … */
export const WAVE_SHARE = 0.1
/** … a smaller one, such as a team that left, parks after this. */
export const WAVE_MS_MAX = 24 * 3_600_000
/** Documented words for this many connections at about the same time … */
export const FLEET_MIN = 10
/**
 * … that are this share of all: then the words are believed after half an
 * hour, and asked about again.
 */
export const FLEET_SHARE = 0.5
/** A wave ends for all at once, and all are to be well within a minute of its end. */
const WAVE_SOON_MS = 30_000
/**
 * Until a refusal lasts it may be a moment's:
 * ours, as a project that was switched off by mistake, or the vendor's.
 */
const SOON_MS = 60_000
const CLIENT_SOON_MS = 30_000
/** One line in the log tells of all connections that are held back meanwhile. */
const LOG_EVERY_MS = 300_000
const loggedAt = new Map<VendorName, number>()

/** What the database knows when a connection was refused, this refusal included. */
export interface RefusalFacts {
  /** Since its first refusal without a read in between, in ms. */
  readonly refusedMs: number
  readonly freshTokens: number
  /** Other connections of the vendor that are refused since about the same time. */
  readonly peers: number
  /** Other connections of the vendor that were parked within ten minutes. */
  readonly parkedLately: number
  /** All connections of the vendor that are active or were parked lately, this one included. */
  readonly connections: number
}

export type RefusalVerdict =
  /** `isProbed`: the same grant may be good again without the person. */
  | { readonly kind: 'park'; readonly isProbed: boolean }
  /**
   * `isBraked`: it would be parked if it were alone.
   * `isWave`: others are refused with it, so it is soon tried again.
   */
  | { readonly kind: 'wait'; readonly isBraked: boolean; readonly isWave: boolean }

export interface Ruling {
  readonly isParked: boolean
  /** Of a parked one: it is asked about again. */
  readonly isProbed: boolean
  /**
   * The next try comes within so many ms, however long the streak is; null: as the backoff says.
   */
  readonly soonMs: number | null
}

/**
 * Rules on a failed unit, under the fence. `mayPark`: its failure is one for `judgeRefusal`.
 * Throws Failure `store/*`.
 */
export async function ruleOnRefusal(
  deps: Pick<UnitDeps, 'logger'>,
  tx: Queryable,
  unit: Pick<Unit, 'connection'>,
  { failure, mayPark }: { readonly failure: Failure; readonly mayPark: boolean },
): Promise<Ruling> {
  const soonMs = failure.code === 'vendor/client-rejected' ? CLIENT_SOON_MS : null
  const onward: Ruling = { isParked: false, isProbed: false, soonMs }
  if (!mayPark) return onward
  const { connectionId, vendor } = unit.connection
  const facts = await noteRefusal(tx, connectionId)
  const verdict = judgeRefusal(failure, facts)
  if (verdict.kind === 'park') return { isParked: true, isProbed: verdict.isProbed, soonMs: null }
  if (verdict.isBraked) await holdBack(deps, tx, { vendor, failure, connections: facts.peers + 1 })
  if (verdict.isWave) return { ...onward, soonMs: WAVE_SOON_MS }
  return facts.refusedMs < REFUSED_MS_MIN ? { ...onward, soonMs: SOON_MS } : onward
}

/**
 * What follows from a refusal. Pure. `failure` is one that `settlementOf` parks or leaves to judge.
 */
export function judgeRefusal(
  failure: Pick<Failure, 'code' | 'mayHeal'>,
  facts: RefusalFacts,
): RefusalVerdict {
  const isDocumented = settlementOf(failure).action === 'park'
  if (isDocumented && !isFleet(facts)) return { kind: 'park', isProbed: failure.mayHeal }
  const isWave = isDocumented || facts.peers + 1 >= WAVE_MIN
  const lasts = facts.refusedMs >= REFUSED_MS_MIN && facts.freshTokens >= REFUSED_TOKENS_MIN
  if (!lasts) return { kind: 'wait', isBraked: isDocumented, isWave }
  const isHeldBack = isWave && !isDocumented && !isSmallAndOld(facts)
  return isHeldBack ? { kind: 'wait', isBraked: true, isWave } : { kind: 'park', isProbed: true }
}

/**
 * So many at once, by whatever words,
 * that the vendor is more likely to be wrong than all these people to have gone.
 */
function isFleet({ parkedLately, peers, connections }: RefusalFacts): boolean {
  const others = parkedLately + peers
  return others >= FLEET_MIN && others >= connections * FLEET_SHARE
}

function isSmallAndOld({ peers, connections, refusedMs }: RefusalFacts): boolean {
  return refusedMs >= WAVE_MS_MAX && peers + 1 < connections * WAVE_SHARE
}

async function holdBack(
  deps: Pick<UnitDeps, 'logger'>,
  tx: Queryable,
  held: { readonly vendor: VendorName; readonly failure: Failure; readonly connections: number },
): Promise<void> {
  const { vendor, failure, connections } = held
  const { code } = failure
  parkHeldBack(vendor, code)
  // Connections that were parked before it showed that all are refused are doubted too.
  if (settlementOf(failure).action === 'park') await probeParkedLately(tx, vendor)
  const now = performance.now()
  if (now - (loggedAt.get(vendor) ?? Number.NEGATIVE_INFINITY) < LOG_EVERY_MS) return
  loggedAt.set(vendor, now)
  manyRefused(deps, { vendor, code, connections })
}
