// Where the flag server is, and the caps that it cannot lift.
import { z } from 'zod'
import { isUuid } from '#shared/domain/ids.ts'
import { httpUrl, secretText, text } from '#shared/process/settings.ts'

/** UNLEASH_URL and UNLEASH_TOKEN, and the caps under the names of the gates. */
export const unleashEnv = {
  UNLEASH_URL: httpUrl('address of the Unleash API, ending in /api'),
  UNLEASH_TOKEN: secretText('a backend token of Unleash'),
  CALENDAR_SYNC_ENABLED: switchCap('sync'),
  CALENDAR_JOBS_ENABLED: switchCap('jobs'),
  CALENDAR_WEBHOOK_ENABLED: switchCap('webhooks'),
  CALENDAR_OAUTH_ENABLED: switchCap('connecting accounts'),
  CALENDAR_ALLOWLIST_PROVIDER_IDS: listCap('provider'),
  CALENDAR_ALLOWLIST_CONNECTION_IDS: listCap('connection'),
}

/** Where the toggles lie at the flag server, for those who ask it about them. */
export const flagPlaceEnv = {
  UNLEASH_PROJECT: text('project of the toggles').default('default').describe('project of the toggles'),
  UNLEASH_ENVIRONMENT: text('environment of the toggles')
    .default('development')
    .describe('environment of the toggles: the one that UNLEASH_TOKEN names'),
}

/** A hard cap that no toggle can override: unset is no cap, empty closes the gate. */
function switchCap(what: string) {
  return z
    .enum(['true', 'false', ''], { error: 'it is neither true nor false' })
    .transform((value) => value === 'true')
    .optional()
    .meta({
      description: `false to keep ${what} off whatever Unleash says; leave it unset for no cap`,
      emptyCounts: true,
    })
}

function listCap(what: string) {
  return z
    .string()
    .transform((value) =>
      value
        .split(',')
        .map((id) => id.trim().toLowerCase())
        .filter((id) => id !== ''),
    )
    .refine((ids) => ids.every(isUuid), { error: 'it is not a list of uuids' })
    .optional()
    .meta({
      description: `${what} ids, separated by commas, that Unleash may let in; leave it unset for no cap`,
      emptyCounts: true,
    })
}
