// Where the vendors are, what our app is to them, and how often it may call.
import { z } from 'zod'
import { httpUrl, keyringText, secretText, text, wholeNumber } from '#shared/process/settings.ts'

const PUBLIC_ADDRESS = "the https address under which vendors and people's browsers reach the ingress"

export const channelEnv = {
  CHANNEL_TOKEN_KEYS: keyringText(
    'kid:key pairs, separated by commas, each key 32 random bytes as base64; the first one signs',
  ),
  PUBLIC_URL: httpUrl(PUBLIC_ADDRESS)
    .refine((url) => !/[?#]/.test(url), { error: 'it has a query or a fragment' })
    .describe(PUBLIC_ADDRESS),
}

export const googleEnv = {
  GOOGLE_API_URL: addressWithDefault('address of the Google APIs', 'https://www.googleapis.com'),
  GOOGLE_AUTH_URL: addressWithDefault(
    "address of Google's consent page",
    'https://accounts.google.com/o/oauth2/v2/auth',
  ),
  GOOGLE_TOKEN_URL: addressWithDefault(
    "address of Google's token endpoint",
    'https://oauth2.googleapis.com/token',
  ),
  GOOGLE_REVOKE_URL: addressWithDefault(
    "address of Google's revocation endpoint",
    'https://oauth2.googleapis.com/revoke',
  ),
  GOOGLE_CLIENT_ID: text('OAuth client id of the app at Google').optional(),
  GOOGLE_CLIENT_SECRET: secretText('OAuth client secret of the app at Google').optional(),
}

export const microsoftEnv = {
  MICROSOFT_API_URL: addressWithDefault('address of Microsoft Graph', 'https://graph.microsoft.com'),
  MICROSOFT_LOGIN_URL: addressWithDefault(
    "address of Microsoft's sign-in server, without the tenant",
    'https://login.microsoftonline.com',
  ),
  MICROSOFT_AUTH_URL: httpUrl(
    "address of Microsoft's sign-in server as people's browsers reach it, where that is another one",
  ).optional(),
  MICROSOFT_TENANT: text('tenant whose accounts may connect; common takes all')
    .default('common')
    .describe('tenant whose accounts may connect; common takes all'),
  MICROSOFT_MAILBOX_ZONE: z
    .enum(['asked', 'not_asked'])
    .default('asked')
    .describe('whether people are asked for the zone of their mailbox (MailboxSettings.Read)'),
  MICROSOFT_CLIENT_ID: text('OAuth client id of the app at Microsoft').optional(),
  MICROSOFT_CLIENT_SECRET: secretText('OAuth client secret of the app at Microsoft').optional(),
}

/**
 * The quotas of the app, shared by all processes. Standards: Google's since 2026-05 (older projects
 * have their own), Graph's throttling limits.
 */
export const quotaEnv = {
  GOOGLE_CALLS_PER_MINUTE: callsPerMinute('calls that Google allows the project in a minute', '10000'),
  GOOGLE_MAILBOX_CALLS_PER_MINUTE: callsPerMinute('calls that Google allows for one user in a minute', '600'),
  MICROSOFT_CALLS_PER_MINUTE: callsPerMinute('calls that Microsoft allows the app in a minute', '100000'),
  MICROSOFT_MAILBOX_CALLS_PER_MINUTE: callsPerMinute(
    'calls that Microsoft allows for one mailbox in a minute',
    '1000',
  ),
}

/** Every vendor's settings; which vendors there are, `createVendors` decides. */
export const vendorsEnv = { ...googleEnv, ...microsoftEnv, ...quotaEnv }

function callsPerMinute(expected: string, standard: string) {
  return wholeNumber(expected, { min: 10, max: 10_000_000 }).prefault(standard).describe(expected)
}

function addressWithDefault(what: string, url: string) {
  return httpUrl(what).default(url).describe(what)
}
