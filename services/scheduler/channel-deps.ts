// What the jobs take that open, renew and stop channels.
import type { ChannelKeys } from '#shared/domain/channel-token.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Logger } from '#shared/platform/log.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import type { VendorUse } from '#shared/vendors/uses.ts'
import type { DoorbellDeps } from './doorbell.ts'

export interface ChannelsDeps extends DoorbellDeps {
  readonly db: Queryable
  readonly gates: Gates
  readonly vendors: ReadonlyMap<VendorName, VendorUse>
  readonly keys: ChannelKeys
  /** Base of our own address as the vendor sees it, without a slash at the end. */
  readonly publicUrl: string
  readonly logger: Logger
}
