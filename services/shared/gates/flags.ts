// The flag functions under the names that the drills' scripts use. Importing this file starts
// polling Unleash with the process's own environment and waits for the first poll, at most 2 s.
// Invariant: what is not known to be on is false. Services take gates in their deps instead.
import { z } from 'zod'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { readEnv } from '#shared/process/settings.ts'
import { unleashEnv } from './settings.ts'
import { createLogger } from '#shared/process/log.ts'
import { openGates } from './unleash.ts'

const config = readEnv(z.object(unleashEnv), process.env)
const gates = await openGates(
  { url: config.UNLEASH_URL, token: config.UNLEASH_TOKEN, caps: config, appName: 'calstream-flags' },
  // Scripts print their answers to standard output; only what needs an operator joins them.
  createLogger({ service: 'flags', level: 'error' }),
  new AbortController().signal,
)

/**
 * Whether sync may run for a provider (and one of its connections):
 * the switch and the allowlists together.
 */
export function isCalendarSyncEnabled(provider: string, connection?: string): boolean {
  const decision = gates.sync(
    providerId(provider),
    connection === undefined ? undefined : connectionId(connection),
  )
  return decision.state === 'on'
}

/** Whether the provider is on the allowlist; the switch is not asked. */
export function isProviderAllowed(provider: string): boolean {
  return gates.provider(providerId(provider)).state === 'on'
}

/** Whether the connection is on the allowlist; the switch is not asked. */
export function isConnectionAllowed(connection: string): boolean {
  return gates.connection(connectionId(connection)).state === 'on'
}

export function isJobsEnabled(): boolean {
  return gates.jobs().state === 'on'
}

export function isWebhookEnabled(): boolean {
  return gates.webhook().state === 'on'
}

export function isOAuthEnabled(): boolean {
  return gates.oauth().state === 'on'
}
