// The vendors that an installation talks to, by name. A vendor without configuration is absent, not broken.
import type { VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/platform/clock.ts'
import { createGoogle, type GoogleConfig } from './google/adapter.ts'
import type { Vendor } from './vendor.ts'

export interface VendorsConfig {
  readonly google: GoogleConfig
}

export type Vendors = ReadonlyMap<VendorName, Vendor>

/** One adapter per configured vendor. */
export function createVendors(config: VendorsConfig, clock?: Clock): Vendors {
  return new Map([['google', createGoogle(config.google, clock)]])
}
