// What is Google's own at its port: the routes, whose call it is, its error bodies, its budgets.
import { type FrontDeps, type Side, createFront } from '../front/front.ts'
import type { Call } from '../http.ts'
import { faultError, googleError } from './errors.ts'
import { accountOfToken, oauthFault } from './oauth.ts'
import { createQuota } from './quota.ts'
import { GOOGLE_ROUTES, type GoogleContext, type GoogleDeps } from './routes.ts'

/** The handler of the Google port. */
export function createGoogleFront(deps: FrontDeps, google: GoogleDeps): (call: Call) => Promise<void> {
  const quota = createQuota(deps.knobs.quota, deps.now)
  const side: Side<GoogleContext> = {
    vendor: 'google',
    routes: GOOGLE_ROUTES,
    context: (call) => ({ deps: google, call }),
    identify: (call, params) => identify(google, call, params['calendarId']),
    faultError: (status, reason, operation) =>
      operation === 'token' || operation === 'revoke'
        ? oauthFault(status, reason)
        : faultError(status, reason),
    notFound: () => googleError('notFound'),
    // The authorization server has budgets of its own, which nobody meets.
    admit: (call, who) =>
      call.path.startsWith('/calendar/') ? quota.admit(call.method, who.accountId) : null,
  }
  return createFront(deps, side)
}

function identify(google: GoogleDeps, call: Call, calendarId: string | undefined) {
  const bearer = /^Bearer (.+)$/i.exec(call.headers.authorization ?? '')?.[1]
  const form = call.path === '/token' ? new URLSearchParams(call.body).get('refresh_token') : null
  const account = accountOfToken(google.oauth, bearer ?? form ?? call.query.get('token') ?? '')
  const calendar = account && calendarId ? google.world.calendar(account.id, calendarId) : undefined
  return { accountId: account?.id ?? null, calendarId: calendar?.id ?? calendarId ?? null }
}
