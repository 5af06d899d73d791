// What the jobs take that open, renew and stop channels.
import type { ChannelKeys } from '#shared/domain/channel-token.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Queryable } from '#shared/store/database.ts'
import type { Mailboxes } from '#shared/vendors/mailbox.ts'
import type { DoorbellDeps } from '../rings/doorbell.ts'

export interface ChannelsDeps extends DoorbellDeps {
  readonly db: Queryable
  readonly gates: Gates
  readonly mailboxes: Mailboxes
  readonly keys: ChannelKeys
  /** Base of our own address as the vendor sees it, without a slash at the end. */
  readonly publicUrl: string
  readonly logger: Logger
}
