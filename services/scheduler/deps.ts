// What the jobs of the scheduler take; each says which part.
import type { ChannelKeys } from '#shared/domain/channel-token.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { Producer } from '#shared/kafka/broker.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Keyring } from '#shared/process/keyring.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Database } from '#shared/store/database.ts'
import type { Mailboxes } from '#shared/vendors/mailbox.ts'

export interface JobDeps {
  readonly db: Database
  readonly codec: Codec
  readonly producer: Producer
  readonly clock: Clock
  readonly logger: Logger
  readonly gates: Gates
  readonly mailboxes: Mailboxes
  readonly keys: ChannelKeys
  readonly credentialKeys: Keyring
  /** Base of our own address as the vendor sees it, without a slash at the end. */
  readonly publicUrl: string
}
