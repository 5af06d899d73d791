// `calstream connections add`: connecting an account by a refresh token that the person already
// has. In a file of its own, since it loads the vendors' SDKs, which no command needs that only
// looks.
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { providerId, type VendorName } from '#shared/domain/ids.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryConfigOf, registryEnv } from '#shared/kafka/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { TOPICS } from '#schemas/topics.ts'
import { connectAccount } from '../ingress/service.ts'
import { openChannelsFor } from '../scheduler/service.ts'
import { loadConfig as loadSchedulerConfig } from '../scheduler/config.ts'
import { envOf, urlOf } from './config.ts'
import { cliLogger, openDatabaseOf } from './open.ts'
import { uuidOf, vendorOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'

const LIMIT_MS = 60_000

/** How access tokens begin: Google's with ya29., Microsoft's for organizations are JWTs. */
const ACCESS_TOKEN: Readonly<Record<VendorName, RegExp>> = { google: /^ya29\./, microsoft: /^eyJ/ }

/**
 * Connects an account: commits connection, credentials, calendars and first request together, then
 * opens its channels. The token comes from CALSTREAM_REFRESH_TOKEN or standard input, never from
 * the command line, where others could read it. Several tokens, one a line, connect several
 * accounts; their channels are opened by the scheduler within seconds. Ends with the first account
 * that cannot be connected; those before it are connected, and the command may be repeated.
 */
export async function addConnection(
  options: { provider: string; vendor: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const provider = providerId(uuidOf('--provider', options.provider))
  const name = vendorOf(options.vendor)
  const signal = AbortSignal.timeout(LIMIT_MS)
  const tokens = (env['CALSTREAM_REFRESH_TOKEN'] ?? (await text(process.stdin))).split(/\s+/).filter(Boolean)
  if (tokens.length === 0)
    throw new UserError('Give the refresh token on standard input or in CALSTREAM_REFRESH_TOKEN.')
  if (tokens.some((token) => ACCESS_TOKEN[name].test(token)))
    throw new UserError(
      'This is an access token, which ends within about an hour. Give the refresh token: a vendor gives one for a consent with access_type=offline and prompt=consent (Google) or the scope offline_access (Microsoft).',
    )
  const schema = z.object({ ...postgresEnv, ...registryEnv, ...kafkaEnv, ...credentialsEnv, ...vendorsEnv })
  const config = readEnv(schema, urlOf('ingress', env))
  const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft, TOPICS.connectionChanged] as const
  const vendor = createVendors(config).get(name)
  if (!vendor) throw new UserError(`The vendor ${name} is not configured. Set its client id and secret.`)
  const codec = await openCodec({ ...registryConfigOf(config), topics }, signal)
  await using database = openDatabaseOf(env, cliLogger(), 'ingress')
  const deps = { database, codec, keyring: parseKeyring(config.CREDENTIALS_KEYS), vendor }
  const lines = []
  for (const refreshToken of tokens) {
    const connected = await connectAccount(deps, { providerId: provider, refreshToken }, signal)
    lines.push({
      connection: connected.connectionId,
      vendor: name,
      account: connected.account,
      new: connected.isNew,
      calendars: connected.calendars,
    })
  }
  const [only, ...more] = lines
  if (!only || more.length > 0) return output.rows(lines)
  const schedulerConfig = loadSchedulerConfig(urlOf('scheduler', envOf('scheduler', env)))
  output.object({ ...only, channels: await openChannelsFor(schedulerConfig, only.connection, signal) })
}
