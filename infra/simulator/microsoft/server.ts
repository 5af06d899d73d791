// What is Microsoft's own at its port: the routes, whose call it is, its error bodies.
import { type FrontDeps, type Side, createFront } from '../front/front.ts'
import type { Call } from '../http.ts'
import { faultError, graphError } from './errors.ts'
import { accountOf } from './oauth.ts'
import { MICROSOFT_ROUTES, type MicrosoftContext, type MicrosoftDeps } from './routes.ts'

/** The handler of the Microsoft port. */
export function createMicrosoftFront(
  deps: FrontDeps,
  microsoft: MicrosoftDeps,
): (call: Call) => Promise<void> {
  const side: Side<MicrosoftContext> = {
    vendor: 'microsoft',
    routes: MICROSOFT_ROUTES,
    context: (call) => ({ deps: microsoft, call }),
    identify: (call, params) => identify(microsoft, call, params),
    faultError,
    notFound: () => graphError('UnknownSegment'),
    admit: () => null,
  }
  return createFront(deps, side)
}

function identify(microsoft: MicrosoftDeps, call: Call, params: Readonly<Record<string, string>>) {
  const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1]
  const form = call.path.endsWith('/token') ? new URLSearchParams(call.body).get('refresh_token') : null
  const account = accountOf(microsoft.entra, bearer ?? form ?? '')
  return { accountId: account?.id ?? null, calendarId: params['calendarId'] ?? null }
}
