// What the OAuth routes take besides what all routes of the API share.
import { systemClock } from '#shared/process/clock.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { openConsents } from '#shared/vendors/mailbox.ts'
import type { IngressConfig } from '../config.ts'
import { createBrowserCookie } from './browser-cookie.ts'
import { CHAIN_LIFE_MS, type FlowDeps } from './flow.ts'
import { createFlowTokens } from './flow-tokens.ts'

/** Throws ConfigError when no vendor is configured. */
export function oauthParts(config: IngressConfig, { db, logger }: Pick<FlowDeps, 'db' | 'logger'>) {
  const keyring = parseKeyring(config.CREDENTIALS_KEYS)
  const isSecure = config.PUBLIC_URL.startsWith('https:')
  // What a person's consent costs at a vendor is taken from the same quota as everything else.
  const limits = { store: budgetStore(db), clock: systemClock, logger, quotas: config }
  return {
    keyring,
    tokens: createFlowTokens(keyring),
    cookie: createBrowserCookie({ isSecure, lifeMs: CHAIN_LIFE_MS }),
    vendors: openConsents(createVendors(config), limits),
    publicUrl: config.PUBLIC_URL,
    returnOrigins: config.OAUTH_RETURN_ORIGINS,
  }
}
