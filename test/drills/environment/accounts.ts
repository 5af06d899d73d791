// Accounts at the play vendors, connected to the system under drill: each a provider of its own.
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { providerId } from '#shared/domain/ids.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { readEnv } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase } from '#shared/store/database.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { TOPICS } from '#schemas/topics.ts'
import { z } from 'zod'
import { connectAccount } from '../../../services/ingress/connect-account.ts'
import type { StackEnv } from '../../../infra/stack/services.ts'
import type { DrillStack } from './stack.ts'
import { registryOf } from './streams.ts'
import type { VendorHand } from './vendor-hand.ts'

export interface ConnectedAccount {
  readonly accountId: string
  readonly email: string
  readonly vendor: 'google' | 'microsoft'
  readonly connectionId: string
  readonly providerId: string
  readonly refreshToken: string
  readonly calendars: readonly { readonly id: string }[]
}

interface MadeAccount {
  readonly accountId: string
  readonly email: string
  readonly refreshToken: string
  readonly calendars: { id: string }[]
}

/** Of the system that they are connected to. */
interface At {
  readonly env: StackEnv
  readonly stack: DrillStack
  readonly prefix: string
  readonly databaseUrl: string
  readonly vendor: VendorHand
}

const AT_A_TIME = 4
const LIMIT_MS = 90_000

/** Makes and connects `count` accounts. Nothing lets them in yet. */
export async function connectAccounts(
  { env, stack, prefix, databaseUrl, vendor }: At,
  count: number,
  spec: { calendars?: number; eventsPerCalendar?: number; vendor?: 'google' | 'microsoft' },
): Promise<readonly ConnectedAccount[]> {
  const name = spec.vendor ?? 'google'
  const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft, TOPICS.connectionChanged] as const
  const codec = await openCodec({ ...registryOf(stack, prefix), topics }, AbortSignal.timeout(LIMIT_MS))
  await using database = openDatabase(
    { url: new Secret(databaseUrl), applicationName: 'calstream-drill', poolMax: AT_A_TIME },
    pino({ level: 'silent' }),
  )
  const adapter = createVendors(readEnv(z.object(vendorsEnv), { ...env })).get(name)
  if (!adapter) throw new Error(`the vendor ${name} is not configured`)
  const deps = {
    database,
    codec,
    keyring: parseKeyring(new Secret(env['CREDENTIALS_KEYS'] ?? '')),
    vendor: adapter,
  }
  const connected: ConnectedAccount[] = []
  const one = async (): Promise<void> => {
    const made = await vendor.admin<MadeAccount>('POST', '/admin/accounts', {
      ...(name === 'google' ? {} : { vendor: name }),
      calendars: spec.calendars ?? 1,
      eventsPerCalendar: spec.eventsPerCalendar ?? 20,
    })
    const provider = randomUUID()
    const { connectionId } = await connectAccount(
      deps,
      { providerId: providerId(provider), refreshToken: made.refreshToken },
      AbortSignal.timeout(LIMIT_MS),
    )
    connected.push({ ...made, vendor: name, connectionId, providerId: provider })
  }
  const queue = Array.from({ length: count }, () => one)
  await Promise.all(
    Array.from({ length: Math.min(AT_A_TIME, count) }, async () => {
      for (let next = queue.pop(); next; next = queue.pop()) await next()
    }),
  )
  return connected
}
