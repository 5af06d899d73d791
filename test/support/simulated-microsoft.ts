// The simulated Microsoft for the contract suite and for the tests of what only Microsoft does.
import { Secret } from '#shared/process/secret.ts'
import { createMicrosoft } from '#shared/vendors/microsoft/adapter.ts'
import { openSimulatedVendor } from './simulated-vendor.ts'
import type { VendorWorld } from './vendor-world.ts'

/** A simulator of its own, with these knobs of `/admin/microsoft`. */
export function openSimulatedMicrosoft(knobs: object): Promise<VendorWorld> {
  return openSimulatedVendor({
    name: 'microsoft',
    prepare: (admin) => admin('POST', '/admin/microsoft', knobs),
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
  })
}
