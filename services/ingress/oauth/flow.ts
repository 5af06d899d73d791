// What the steps of a flow share: their ports, their addresses and their time.
import type { Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Keyring } from '#shared/process/keyring.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Database } from '#shared/store/database.ts'
import type { ConsentVendor } from '#shared/vendors/mailbox.ts'
import { callbackPath } from '#shared/vendors/our-addresses.ts'
import type { BearerCheck } from '#shared/process/bearer.ts'
import type { BrowserCookie } from './browser-cookie.ts'
import type { FlowTokens } from './flow-tokens.ts'

export interface FlowDeps {
  readonly gates: Pick<Gates, 'oauth' | 'sync'>
  readonly bearer: BearerCheck
  readonly db: Database
  readonly codec: Pick<Codec, 'encode' | 'problem'>
  readonly keyring: Keyring
  readonly tokens: FlowTokens
  readonly cookie: BrowserCookie
  readonly vendors: ReadonlyMap<VendorName, ConsentVendor>
  /** Without a slash at its end. */
  readonly publicUrl: string
  readonly returnOrigins: readonly string[]
  readonly logger: Logger
}

/** Of a link until it is followed, and of each consent from then on. */
export const FLOW_LIFE_MS = 600_000

/** Of a link with all its tries, from when the app asked for it. */
export const CHAIN_LIFE_MS = 3_600_000

/** What a code verifier is sealed for. */
export const VERIFIER_FIELD = 'code_verifier'

/** The redirect address, exactly as it is registered at the vendor. */
export function callbackUrl({ publicUrl }: FlowDeps, vendor: VendorName): string {
  return `${publicUrl}${callbackPath(vendor)}`
}
