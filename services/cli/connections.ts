// `calstream connections add|list`: connecting an account by a refresh token that the person already has, and the list.
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { isUuid, providerId, type VendorName } from '#shared/domain/ids.ts'
import { openCodec } from '#shared/platform/codec.ts'
import { parseKeyring } from '#shared/platform/crypto.ts'
import {
  credentialsEnv,
  googleEnv,
  kafkaEnv,
  postgresEnv,
  readEnv,
  registryEnv,
} from '#shared/platform/env.ts'
import { createLogger } from '#shared/platform/log.ts'
import { openDatabase } from '#shared/platform/postgres.ts'
import { listConnections } from '#shared/store/status.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import { TOPICS } from '#schemas/topics.ts'
import { connectAccount } from '../ingress/service.ts'
import { openChannelsFor } from '../scheduler/service.ts'
import { loadConfig as loadSchedulerConfig } from '../scheduler/config.ts'
import { urlOf } from './config.ts'
import type { Output } from './output.ts'
import { Problem } from './problem.ts'

const LIMIT_MS = 60_000

/**
 * Connects an account: commits connection, credentials, calendars and first request together, then opens its channels.
 * The token comes from CALSTREAM_REFRESH_TOKEN or standard input, never from the command line, where others could read it.
 */
export async function addConnection(
  options: { provider: string; vendor: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  if (!isUuid(options.provider)) throw new Problem(`--provider must be a uuid, not "${options.provider}".`)
  const vendor = vendorOf(options.vendor)
  const signal = AbortSignal.timeout(LIMIT_MS)
  const refreshToken = (env['CALSTREAM_REFRESH_TOKEN'] ?? (await text(process.stdin))).trim()
  if (!refreshToken)
    throw new Problem('Give the refresh token on standard input or in CALSTREAM_REFRESH_TOKEN.')
  const schema = z.object({ ...postgresEnv, ...registryEnv, ...kafkaEnv, ...credentialsEnv, ...googleEnv })
  const config = readEnv(schema, urlOf('ingress', env))
  const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft, TOPICS.connectionChanged] as const
  const codec = await openCodec(
    { registryUrl: config.SCHEMA_REGISTRY_URL, prefix: config.KAFKA_PREFIX, topics },
    signal,
  )
  await using database = openDatabase(
    { url: config.POSTGRES_URL, applicationName: 'calstream-cli', poolMax: 1 },
    createLogger({ service: 'cli', level: 'warn' }),
  )
  const google = createGoogle({
    apiUrl: config.GOOGLE_API_URL,
    tokenUrl: config.GOOGLE_TOKEN_URL,
    clientId: config.GOOGLE_CLIENT_ID,
    clientSecret: config.GOOGLE_CLIENT_SECRET,
  })
  const deps = { database, codec, keyring: parseKeyring(config.CREDENTIALS_KEYS), vendor: google }
  const connected = await connectAccount(
    deps,
    { providerId: providerId(options.provider), refreshToken },
    signal,
  )
  const channels = await openChannelsFor(
    loadSchedulerConfig(urlOf('scheduler', env)),
    connected.connectionId,
    signal,
  )
  output.object({
    connection: connected.connectionId,
    vendor,
    account: connected.vendorAccountId,
    new: connected.isNew,
    calendars: connected.calendars,
    channels,
  })
}

/** Prints connections, those in trouble first. */
export async function showConnections(
  options: { limit: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const limit = z.coerce.number().int().min(1).max(10_000).safeParse(options.limit)
  if (!limit.success) throw new Problem('--limit must be a number from 1 to 10000.')
  const config = readEnv(z.object(postgresEnv), urlOf('ingress', env))
  await using database = openDatabase(
    { url: config.POSTGRES_URL, applicationName: 'calstream-cli', poolMax: 1 },
    createLogger({ service: 'cli', level: 'warn' }),
  )
  output.rows(
    (await listConnections(database, limit.data)).map((line) => ({ ...line })),
    'No account is connected yet.',
  )
}

function vendorOf(name: string): VendorName {
  if (name === 'google') return name
  throw new Problem(`--vendor must be google, not "${name}".`)
}
