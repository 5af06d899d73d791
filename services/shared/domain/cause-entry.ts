// What one cause is, for the lists of them. Pure.
import type { StateName } from './connection-facts.ts'

/**
 * Who can do something about it: the owner of the account (or the administrator of its
 * organization), the app that connected it, the operator, the vendor; `nobody` has to.
 */
export type Actor = 'owner' | 'app' | 'operator' | 'vendor' | 'nobody'

/** `stops`: nothing is read or published. `delays`: it comes late. `warns`: it is up to date. */
export type Effect = 'stops' | 'delays' | 'warns'

export interface CauseEntry {
  readonly actor: Actor
  readonly effect: Effect
  /** The state that a connection has because of it; null: it changes no state. */
  readonly state: StateName | null
  /** It passes without a person, so what happens next is told before what a person can do. */
  readonly heals: boolean
  /** When it is so. */
  readonly means: string
  /** What happens without a person, unless the case says more. */
  readonly next: string
  /** What the actor can do, unless the case says more; empty: nothing. */
  readonly action: string
}

type Kind = readonly [actor: Actor, effect: Effect, state: StateName | null, how: 'heals' | 'stays']
type Told = readonly [means: string, next: string, action: string]

/** A cause in the order of a line of docs/why.md. */
export function of([actor, effect, state, how]: Kind, [means, next, action]: Told): CauseEntry {
  return { actor, effect, state, heals: how === 'heals', means, next, action }
}

export const CATCHES_UP = 'What changes meanwhile is caught up afterwards.'
export const TRIED_AGAIN = 'It is tried again automatically.'
export const NOTHING = 'No action needed.'
export const CONNECT_AGAIN =
  'The person has to connect the account again: ask for a connect link with this connection_id and show it to them.'
