// Which of our consumer groups have members: a process of ours that runs without telling anywhere
// else is seen here.
import { createClient, type KafkaConfig, settledWithin } from './client.ts'
import { kafkaFailure } from './trouble.ts'

const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }
const LIMIT_MS = 10_000

/**
 * Those of the groups (logical names) that have members. A process that was killed counts until its
 * session is over. Throws Failure `kafka/unavailable`.
 */
export async function groupsWithMembers(
  config: KafkaConfig,
  groups: readonly string[],
): Promise<readonly string[]> {
  const admin = createClient(config, RETRY, null).admin()
  try {
    const asked = admin
      .connect()
      .then(() => admin.describeGroups(groups.map((group) => config.prefix + group)))
    const found = await settledWithin(asked, LIMIT_MS, 'say who consumes')
    return found.groups
      .filter(({ members }) => members.length > 0)
      .map(({ groupId }) => groupId.slice(config.prefix.length))
  } catch (error) {
    throw kafkaFailure(error)
  } finally {
    void admin.disconnect().catch(() => {})
  }
}
