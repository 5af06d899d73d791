// What the console reads from its environment. Pure.
import { z } from 'zod'
import { bearerCheckEnv, bearerRules } from '#shared/process/bearer-settings.ts'
import { adminEnv, httpUrl, readEnv, secretText, text, wholeNumber } from '#shared/process/settings.ts'
import { postgresEnv } from '#shared/store/settings.ts'
import { flagPlaceEnv, unleashEnv } from '#shared/gates/settings.ts'

const PORT = 'port of the console; 0 takes a free one'
const HOST = 'interface of that port; 0.0.0.0 inside a container'
const ADDRESS =
  'address under which browsers reach the console, as https://console.example.com; its cookie is for https alone then. Unset, the console trusts the Host that a browser names'
const EVENTS =
  'a token of Unleash that may read its events, so that the page of the gates says who switched what, when; a personal access token of a user with the role Viewer does'
const UNLEASH = "address of Unleash's own pages, for links; unset, that of UNLEASH_URL without /api"

/** Every setting of the service; docs/configuration.md is made of it. */
export const schema = z
  .object({
    ...postgresEnv,
    ...unleashEnv,
    ...flagPlaceEnv,
    ...adminEnv,
    ...bearerCheckEnv,
    CONSOLE_PORT: wholeNumber(PORT, { min: 0, max: 65_535 }).default(8090).describe(PORT),
    // Loopback unless told otherwise: opening to the network is a decision.
    CONSOLE_HOST: text(HOST).default('127.0.0.1').describe(HOST),
    CONSOLE_URL: httpUrl(ADDRESS).optional().describe(ADDRESS),
    CONSOLE_UNLEASH_TOKEN: secretText(EVENTS).optional(),
    CONSOLE_UNLEASH_URL: httpUrl(UNLEASH).optional().describe(UNLEASH),
  })
  .check(...bearerRules)

export type ConsoleConfig = z.output<typeof schema>

/** Throws ConfigError that names every wrong variable at once. */
export function loadConfig(env: NodeJS.ProcessEnv): ConsoleConfig {
  return readEnv(schema, env)
}
