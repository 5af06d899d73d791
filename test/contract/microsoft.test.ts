// Microsoft's adapter, held to the contract of all vendors on the simulated Microsoft.
import { Secret } from '#shared/platform/env.ts'
import { createMicrosoft } from '#shared/vendors/microsoft/adapter.ts'
import { openSimulatedVendor } from '../support/simulated-vendor.ts'
import { describeVendor } from './vendor.contract.ts'

describeVendor(
  'Microsoft',
  {
    throttlesWith403: false,
    hasCalendarsWithoutPush: true,
    revokes: false,
    accessEndsWithGrant: false,
    renewsChannels: true,
    validatesCallbacks: true,
  },
  () =>
    openSimulatedVendor({
      name: 'microsoft',
      // Repeats are documented, and have a test of their own; here each change is counted.
      prepare: (admin) => admin('POST', '/admin/microsoft', { repeatedItems: 0 }),
      pagePath: '/calendarView/delta$',
      originOf: ({ microsoftUrl }) => microsoftUrl,
      createAt: (origin) =>
        createMicrosoft({
          apiUrl: origin,
          loginUrl: origin,
          tenant: 'common',
          clientId: 'calstream-local',
          clientSecret: new Secret('calstream-local-secret'),
        }),
      faults: {
        'token-rejected': { respond: { status: 401, reason: 'InvalidAuthenticationToken' } },
        throttled: { respond: { status: 429, reason: 'ApplicationThrottled' } },
        'throttled-403': {},
        'scope-missing': { respond: { status: 403, reason: 'Authorization_RequestDenied' } },
        'calendar-gone': { respond: { status: 404, reason: 'ErrorItemNotFound' } },
        'server-error': { respond: { status: 503, reason: 'UnknownError' } },
        html: { html: true },
        'connection-reset': { reset: 'before' },
        truncated: { truncate: true },
        'malformed-request': { respond: { status: 400, reason: 'BadRequest' } },
      },
    }),
)
