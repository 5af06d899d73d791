// An admin client for one piece of work of the command: topics and rights.
import type { Admin } from 'kafkajs'
import type { Logger } from '#shared/process/log.ts'
import { createClient, type KafkaConfig } from './client.ts'
import { kafkaFailure } from './trouble.ts'

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 }

/**
 * Does the work with a connected admin client, and disconnects it. Throws Failure `kafka/*` for
 * whatever was thrown.
 */
export async function withAdmin<T>(
  config: KafkaConfig,
  logger: Logger,
  work: (admin: Admin) => Promise<T>,
): Promise<T> {
  const admin = createClient(config, RETRY, logger).admin()
  try {
    await admin.connect()
    return await work(admin)
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    await admin.disconnect()
  }
}
