// Opens what the jobs take.
import type { Opening, Overrides } from '#shared/boot/open-service.ts'
import { openStoredMailboxes } from '#shared/boot/open-stored-mailboxes.ts'
import { systemClock } from '#shared/process/clock.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { SchedulerConfig } from './config.ts'
import type { JobDeps } from './deps.ts'
import { REQUESTED_TOPICS } from './rings/doorbell.ts'

const POOL_MAX = 6

/** Throws ConfigError or Failure. */
export async function openJobDeps(service: Opening<SchedulerConfig>, overrides: Overrides): Promise<JobDeps> {
  const { config, logger } = service
  const clock = overrides.clock ?? systemClock
  const codec = await service.codec([...REQUESTED_TOPICS, TOPICS.connectionChanged])
  const gates = await service.gates(overrides.gates)
  const db = await service.database(POOL_MAX)
  const producer = await service.producer()
  const credentialKeys = parseKeyring(config.CREDENTIALS_KEYS)
  const adapters = createVendors(config, clock)
  const mailboxes = openStoredMailboxes(adapters, {
    db,
    keyring: credentialKeys,
    clock,
    logger,
    quotas: config,
  })
  return {
    db,
    codec,
    producer,
    clock,
    logger,
    gates,
    mailboxes,
    keys: parseKeyring(config.CHANNEL_TOKEN_KEYS),
    credentialKeys,
    publicUrl: config.PUBLIC_URL,
  }
}
