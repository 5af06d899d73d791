// Whose browser it is, and what a person who did not get through may do next. Pure but for a
// signature. Invariants: only the browser that followed a link gets another try; each try has one
// successor, the same however often it is asked for; there is none once the link connected an
// account or its hour is over.
import { timingSafeEqual } from 'node:crypto'
import type { Flow } from '#shared/store/oauth-flows.ts'
import type { FlowDeps } from './flow.ts'
import { linkTo } from './links.ts'
import type { Action } from './page.ts'
import { allowedReturn, withOutcome } from './return-to.ts'

/** Whether a flow was followed in the browser of this cookie. */
export function isOfBrowser({ browserHash }: Flow, cookieHash: Buffer | null): boolean {
  return browserHash !== null && cookieHash !== null && timingSafeEqual(browserHash, cookieHash)
}

/** The next try, for the browser of the flow; null when there is none. */
export async function nextTry(deps: FlowDeps, flow: Flow): Promise<Action | null> {
  if (flow.connectionId !== null || flow.isOver) return null
  return { label: 'Try again', href: await linkTo(deps, { ...flow, attempt: flow.attempt + 1 }) }
}

/** The way back to the app, with the outcome as it stands; empty when there is none. */
export function wayBack(deps: FlowDeps, flow: Flow): readonly Action[] {
  const back = returnOf(deps, flow)
  if (back === null) return []
  const { connectionId } = flow
  const outcome =
    connectionId === null
      ? { calendar_status: 'not_connected' }
      : { calendar_status: 'connected', connection_id: connectionId }
  return [{ label: `Go back to ${back.host}`, href: withOutcome(back, outcome) }]
}

/** Checked again: the operator may have shortened the list since. */
export function returnOf({ returnOrigins }: FlowDeps, { returnTo }: Flow): URL | null {
  return returnTo === null ? null : allowedReturn(returnTo, returnOrigins)
}
