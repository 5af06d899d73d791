// What units take, as a process opens it.
import type { Opening, Overrides } from '#shared/boot/open-service.ts'
import { openStoredMailboxes } from '#shared/boot/open-stored-mailboxes.ts'
import { rulesWith } from '#shared/domain/judged-by.ts'
import { systemClock } from '#shared/process/clock.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { createVendors, type Vendors } from '#shared/vendors/index.ts'
import { withPrivateTitles } from '#shared/vendors/private-titles.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { SyncConfig } from '../config.ts'
import { countFromZero } from './moments.ts'
import type { UnitDeps } from './unit.ts'

/**
 * Units spend their time at vendors; 16 connections carried 32 units on two cores without a wait.
 */
const POOL_MAX = 16

export interface UnitOverrides extends Overrides {
  /** Instead of the vendors that the configuration names. */
  readonly vendors?: Vendors
}

/** Throws ConfigError or Failure. */
export async function openUnitDeps(
  service: Opening<SyncConfig>,
  overrides: UnitOverrides,
): Promise<UnitDeps> {
  const { config, logger } = service
  const gates = await service.gates(overrides.gates)
  const db = await service.database(POOL_MAX)
  const { deadLetter: _bytes, ...topics } = TOPICS
  const codec = await service.codec(Object.values(topics))
  const clock = overrides.clock ?? systemClock
  const titles = config.PRIVATE_TITLES
  const adapters = withPrivateTitles(overrides.vendors ?? createVendors(config, clock), titles)
  const keyring = parseKeyring(config.CREDENTIALS_KEYS)
  const mailboxes = openStoredMailboxes(adapters, { db, keyring, clock, logger, quotas: config })
  countFromZero(mailboxes.vendors)
  return { db, codec, clock, logger, gates, mailboxes, rules: rulesWith(titles) }
}
