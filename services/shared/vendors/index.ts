// The vendors that an installation talks to, by name. A vendor without a client id is absent, not
// broken; at least one is there.
import type { z } from 'zod'
import type { VendorName } from '#shared/domain/ids.ts'
import { systemClock, type Clock } from '#shared/process/clock.ts'
import { ConfigError } from '#shared/process/settings.ts'
import type { Secret } from '#shared/process/secret.ts'
import { createGoogle } from './google/adapter.ts'
import { createMicrosoft } from './microsoft/adapter.ts'
import type { googleEnv, microsoftEnv } from './settings.ts'
import { isPresent } from './storable.ts'
import type { Vendor } from './vendor.ts'

type VendorsConfig = z.output<z.ZodObject<typeof googleEnv & typeof microsoftEnv>>
export type Vendors = ReadonlyMap<VendorName, Vendor>

/**
 * One adapter per configured vendor. Throws ConfigError when a client id has no secret, or when
 * there is no vendor at all.
 */
export function createVendors(config: VendorsConfig, clock: Clock = systemClock): Vendors {
  const google = clientOf('GOOGLE', config.GOOGLE_CLIENT_ID, config.GOOGLE_CLIENT_SECRET)
  const microsoft = clientOf('MICROSOFT', config.MICROSOFT_CLIENT_ID, config.MICROSOFT_CLIENT_SECRET)
  const vendors = [
    google && createGoogle({ ...google, ...googleAt(config) }, clock),
    microsoft && createMicrosoft({ ...microsoft, ...microsoftAt(config) }, clock),
  ].filter(isPresent)
  if (vendors.length === 0) {
    throw new ConfigError([
      'GOOGLE_CLIENT_ID or MICROSOFT_CLIENT_ID: neither is set, so there is no vendor to talk to. Set the client id and secret of one.',
    ])
  }
  return new Map(vendors.map((vendor) => [vendor.name, vendor]))
}

function googleAt(config: VendorsConfig) {
  return {
    apiUrl: config.GOOGLE_API_URL,
    authUrl: config.GOOGLE_AUTH_URL,
    tokenUrl: config.GOOGLE_TOKEN_URL,
    revokeUrl: config.GOOGLE_REVOKE_URL,
  }
}

function microsoftAt(config: VendorsConfig) {
  return {
    apiUrl: config.MICROSOFT_API_URL,
    loginUrl: config.MICROSOFT_LOGIN_URL,
    authUrl: config.MICROSOFT_AUTH_URL,
    tenant: config.MICROSOFT_TENANT,
    asksForZone: config.MICROSOFT_MAILBOX_ZONE === 'asked',
  }
}

function clientOf(vendor: string, clientId: string | undefined, clientSecret: Secret | undefined) {
  if (clientId === undefined && clientSecret === undefined) return null
  if (clientId !== undefined && clientSecret !== undefined) return { clientId, clientSecret }
  throw new ConfigError([
    `${vendor}_CLIENT_ID and ${vendor}_CLIENT_SECRET: one is set without the other. Set both, or neither to go without this vendor.`,
  ])
}
