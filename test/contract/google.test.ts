// Google's adapter, held to the contract of all vendors on the simulated Google.
import { Secret } from '#shared/process/secret.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import { openSimulatedVendor } from '../support/simulated-vendor.ts'
import { describeVendor } from './vendor.contract.ts'

describeVendor(
  'Google',
  {
    throttlesWith403: true,
    tellsMissingScopes: true,
    hasCalendarsWithoutPush: true,
    revokes: true,
    accessEndsWithGrant: true,
    renewsChannels: false,
    validatesCallbacks: false,
  },
  () =>
    openSimulatedVendor({
      name: 'google',
      pagePath: '/events$',
      originOf: ({ googleUrl }) => googleUrl,
      createAt: (origin) =>
        createGoogle({
          apiUrl: origin,
          authUrl: `${origin}/o/oauth2/v2/auth`,
          tokenUrl: `${origin}/token`,
          revokeUrl: `${origin}/revoke`,
          clientId: 'calstream-local',
          clientSecret: new Secret('calstream-local-secret'),
        }),
      faults: {
        'token-rejected': { respond: { status: 401, reason: 'authError' } },
        throttled: { respond: { status: 429, reason: 'rateLimitExceeded' } },
        'throttled-403': { respond: { status: 403, reason: 'userRateLimitExceeded' } },
        'scope-missing': { respond: { status: 403, reason: 'insufficientPermissions' } },
        'calendar-gone': { respond: { status: 404, reason: 'notFound' } },
        'server-error': { respond: { status: 503, reason: 'backendError' } },
        html: { html: true },
        'connection-reset': { reset: 'before' },
        truncated: { truncate: true },
        'malformed-request': { respond: { status: 400, reason: 'badRequest' } },
      },
    }),
)
