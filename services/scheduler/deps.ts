// What the jobs of the scheduler take.
import type { Opening, Overrides } from '#shared/boot/open-service.ts'
import { openStoredMailboxes } from '#shared/boot/open-stored-mailboxes.ts'
import type { Admission } from '#shared/domain/gates.ts'
import { admissionOf } from '#shared/gates/toggles.ts'
import { systemClock } from '#shared/process/clock.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { unreachableAddress } from '#shared/vendors/our-addresses.ts'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'
import type { SchedulerConfig } from './config.ts'

export type JobDeps = Readonly<Awaited<ReturnType<typeof openJobDeps>>>

const POOL_MAX = 6

function apisInUse(config: SchedulerConfig): readonly string[] {
  return [
    ...(config.GOOGLE_CLIENT_ID === undefined ? [] : [config.GOOGLE_API_URL]),
    ...(config.MICROSOFT_CLIENT_ID === undefined ? [] : [config.MICROSOFT_API_URL]),
  ]
}

/** Whom the gates let sync now; everybody while a test plays them. */
function admissionNow({ openedGates }: Opening<SchedulerConfig>): Admission {
  return openedGates === null
    ? { sync: 'on', providers: null, connections: null }
    : admissionOf(openedGates.standing())
}

/** Throws ConfigError or Failure. */
export async function openJobDeps(service: Opening<SchedulerConfig>, overrides: Overrides) {
  const { config, logger } = service
  const clock = overrides.clock ?? systemClock
  const codec = await service.codec([...Object.values(REQUESTED_TOPIC), TOPICS.connectionChanged])
  const gates = await service.gates(overrides.gates)
  const db = await service.database(POOL_MAX)
  const producer = await service.producer()
  const problem = unreachableAddress(config.PUBLIC_URL, apisInUse(config))
  if (problem !== null) logger.warn(problem)
  const credentialKeys = parseKeyring(config.CREDENTIALS_KEYS)
  const stored = { db, keyring: credentialKeys, clock, logger, quotas: config }
  return {
    db,
    codec,
    producer,
    clock,
    logger,
    gates,
    admission: () => admissionNow(service),
    mailboxes: openStoredMailboxes(createVendors(config, clock), stored),
    keys: parseKeyring(config.CHANNEL_TOKEN_KEYS),
    credentialKeys,
    /** Base of our own address as the vendor sees it, without a slash at the end. */
    publicUrl: config.PUBLIC_URL,
  }
}
