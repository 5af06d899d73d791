// What is Microsoft's own at its port:
// the routes, whose call it is, its error bodies, the calls in flight.
import { type FrontDeps, type Side, createFront } from '../front/front.ts'
import type { Call } from '../http.ts'
import { createConcurrency } from './concurrency.ts'
import { entraFault } from './entra-errors.ts'
import { faultError, graphError } from './errors.ts'
import { accountOf } from './oauth.ts'
import { MICROSOFT_ROUTES, type MicrosoftContext, type MicrosoftDeps } from './routes.ts'

/** The handler of the Microsoft port. */
export function createMicrosoftFront(
  deps: FrontDeps,
  microsoft: MicrosoftDeps,
): (call: Call) => Promise<void> {
  const concurrency = createConcurrency(deps.knobs.microsoft, deps.now)
  const side: Side<MicrosoftContext> = {
    vendor: 'microsoft',
    routes: MICROSOFT_ROUTES,
    context: (call, within) => ({ deps: microsoft, call, within }),
    identify: (call, params) => identify(microsoft, call, params),
    faultError: (status, reason, operation) =>
      operation === 'token' ? entraFault(status, reason, deps.now()) : faultError(status, reason),
    notFound: () => graphError('UnknownSegment'),
    admit: () => null,
    // Only Outlook counts: not the sign-in, the directory or the subscriptions.
    enter: (call, { accountId }) =>
      accountId !== null && call.path.startsWith('/v1.0/me/') ? concurrency.enter(accountId) : () => {},
  }
  return createFront(deps, side)
}

function identify(microsoft: MicrosoftDeps, call: Call, params: Readonly<Record<string, string>>) {
  const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1]
  const form = call.path.endsWith('/token') ? new URLSearchParams(call.body).get('refresh_token') : null
  const account = accountOf(microsoft.entra, bearer ?? form ?? '')
  return { accountId: account?.id ?? null, calendarId: params['calendarId'] ?? null }
}
