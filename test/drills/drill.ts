// A drill is a value: what it claims (criteria), what it breaks (faults of the catalogue), what has
// to hold (invariants), and a method that does it. The method returns the judge, which sees the
// closed ledgers. Static evidence can never be a PASS.
import type { CheckResult, InvariantId } from './checkers/check.ts'
import type { Criterion, Finding } from './criterion.ts'
import type { System, SystemOptions } from './environment/system.ts'
import type { CalendarName, FaultEntry, Ledgers, OwnRequest } from './ledgers/ledgers.ts'

/** How much a drill does. */
export type Size = 'smoke' | 'ci' | 'full'
/** `secure`: of the size `ci`, on the secured stack. */
export type Profile = Size | 'secure'
export type Verdict = 'PASS' | 'FAIL' | 'INVALID' | 'ABORTED'

export interface Drill {
  /** Like `GD-1` or `P2`; unique. */
  readonly id: string
  readonly title: string
  /** Which report it goes into: a file of docs/drills. */
  readonly report:
    | 'graceful-degradation'
    | 'outages'
    | 'ingress'
    | 'processes'
    | 'infrastructure'
    | 'vendors'
    | 'chaos'
  /** What is claimed, by id: seed criteria as in the seeds, or the drill's own. */
  readonly criteria: Readonly<Record<string, Criterion>>
  /** Entries of the fault catalogue (catalogue/faults.ts) that it executes. */
  readonly faults: readonly string[]
  readonly profiles: readonly Profile[]
  /** Its criteria have rates that a drill beside it would take: it runs alone. */
  readonly needsMachine?: true
  readonly system: (profile: Size) => Omit<SystemOptions, 'label' | 'seed' | 'tree'>
  /** Beyond those that always hold. */
  readonly invariants: readonly InvariantId[]
  /** Invariants that this drill cannot claim, each with the reason. */
  readonly without?: Readonly<Partial<Record<InvariantId, string>>>
  /** The whole method may take this long; then it is ABORTED. */
  readonly wallMs: number
  /** From the last heal until the tables equal the vendor. */
  readonly recoverWithinMs: number
  /** What its name alone does not say on the command line, with a space before it. */
  readonly flags?: string
  /** What the run does not show. */
  readonly limits?: string
  readonly run: (drill: DrillRun) => Promise<Judge>
}

/** What a drill of a profile does. */
export function sizeOf(profile: Profile): Size {
  return profile === 'secure' ? 'ci' : profile
}

/** Called once, with everything closed. */
export type Judge = (frozen: Frozen) => Judgement

export interface Frozen {
  readonly ledgers: Ledgers
  readonly invariants: ReadonlyMap<InvariantId, CheckResult>
  /** A criterion that is exactly these invariants. */
  readonly holds: (...ids: InvariantId[]) => Finding
}

export interface Witness {
  readonly name: string
  readonly need: number
  readonly got: number
}

export interface Judgement {
  /** One for each criterion that the drill claims. */
  readonly criteria: Readonly<Record<string, Finding>>
  /** Proof that the run was not vacuous. */
  readonly witnesses: readonly Witness[]
  readonly numbers?: Readonly<Record<string, number>>
}

export interface FaultSpec {
  /** Of the fault catalogue. */
  readonly fault: string
  readonly action: string
  readonly target: string
  readonly inject: () => Promise<void>
  /** Asked until it says yes. A fault whose effect was not seen makes the drill INVALID. */
  readonly isActive: () => Promise<boolean> | boolean
  readonly heal: () => Promise<void>
  readonly isHealed: () => Promise<boolean> | boolean
}

export interface ActiveFault {
  readonly entry: FaultEntry
  /**
   * Takes the fault away and waits for the proof; safe to repeat. The runner calls it at the
   * latest.
   */
  readonly heal: () => Promise<void>
}

/** What a method works with. */
export interface DrillRun {
  readonly system: System
  readonly profile: Size
  readonly seed: number
  /** From the seed; for everything that is drawn. */
  readonly random: () => number
  /** Fires when the drill is stopped. */
  readonly signal: AbortSignal
  /** One line for a person. */
  say(line: string): void
  /** Injects a fault and waits until it has been seen to have an effect. */
  inject(fault: FaultSpec): Promise<ActiveFault>
  /** A fault that is over as soon as it happened, such as a kill; noted with its proof. */
  strike(fault: Pick<FaultSpec, 'fault' | 'action' | 'target'>, act: () => Promise<void>): Promise<void>
  /** Changes at the vendors, at a rate, in the background; the judge's witness of load. */
  load(changesPerSecond: number, durationMs: number, accountIds?: readonly string[]): Promise<number>
  /** Sends a request to the ingress; what came back goes into the ledger. */
  request(request: RequestSpec): Promise<OwnRequest>
  /** Waits for a condition; throws DrillFailed with what was waited for. */
  until(what: string, ask: () => Promise<boolean> | boolean, withinMs: number): Promise<number>
  /** Waits until the tables equal the vendor. @returns how long that took, in ms. */
  converged(withinMs: number): Promise<number>
  /**
   * Waits until no delivery of a vendor is pending. Vendors repeat refused deliveries for a while.
   */
  delivered(withinMs: number): Promise<number>
  /** A pause in which a fault lasts; ends early when the drill is stopped. */
  lasting(ms: number): Promise<void>
}

export interface RequestSpec {
  readonly what: string
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** `<channel>:<number>` of a notification. */
  readonly delivery?: string
  /** What the notification's token names. */
  readonly calendar?: CalendarName
}

/** The system did not do what it should: a FAIL, not a fault of the drill. */
export class DrillFailed extends Error {
  override readonly name = 'DrillFailed'
}

/** The drill could not be carried out: no verdict about the system. */
export class DrillInvalid extends Error {
  override readonly name = 'DrillInvalid'
}
