// What the sync service reads from its environment. Pure.
import { z } from 'zod'
import { PRIVATE_TITLES } from '#shared/domain/judged-by.ts'
import { adminEnv, readEnv, wholeNumber } from '#shared/process/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import type { LaneLimits } from './lanes.ts'

const SLOT_WAIT_MS = 5000

const slots = (expected: string, standard: string) =>
  wholeNumber(expected, { min: 1, max: 1000 }).prefault(standard).describe(expected)

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z.object({
  ...kafkaEnv,
  ...registryEnv,
  ...postgresEnv,
  ...unleashEnv,
  ...credentialsEnv,
  ...vendorsEnv,
  ...adminEnv,
  PRIVATE_TITLES: z
    .enum(PRIVATE_TITLES)
    .default('kept')
    .describe('whether titles and places of private events are kept: kept or withheld'),
  SYNC_SLOTS: slots('units that run at a time', '32'),
  SYNC_VENDOR_SLOTS: slots('units of one vendor that run at a time', '24'),
  SYNC_BACKFILL_SLOTS: slots('units that read whole calendars at a time', '8'),
})

export type SyncConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): SyncConfig {
  return readEnv(schema, env)
}

/** The part that the lanes take. */
export function laneLimits(config: SyncConfig): LaneLimits {
  return {
    slots: config.SYNC_SLOTS,
    bulkheadSlots: config.SYNC_VENDOR_SLOTS,
    backfillSlots: config.SYNC_BACKFILL_SLOTS,
    slotWaitMs: SLOT_WAIT_MS,
  }
}
