// What notifications tell about their channels, for the scheduler. Two ways: a lifecycle notice is durable before its 2xx; that a
// channel rings at all is noted on the side, best effort, so that one which we do not know can be stopped. Invariant: noting
// waits for nothing, fails nothing and holds a bounded number of channels.
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/platform/clock.ts'
import type { Logger } from '#shared/platform/log.ts'
import { startLoop } from '#shared/platform/loop.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import { saveNotices, type ChannelNotice } from '#shared/store/channel-notices.ts'
import { createGroupCommit } from '../group-commit.ts'

export interface ChannelNotices extends AsyncDisposable {
  /** Whether these are committed; false is answered 503. Never rejects. */
  tell(notices: readonly ChannelNotice[]): Promise<boolean>
  /** A channel rang. `resourceId` as Google names it, else ''. */
  seen(vendor: VendorName, channel: { id: string; resourceId: string }, claims: ChannelClaims): void
}

const GROUP_MAX = 500
const QUEUE_MAX = 5000
const WAIT_MAX_MS = 2500
const DRAIN_MAX_MS = 1000
const NOTE_EVERY_MS = 5000
/** Some 4 MB of ids; beyond it the channel that was noted longest ago is noted once more when it rings. */
const KNOWN_MAX = 20_000
const PENDING_MAX = 5000
/** A channel is noted once in this time: long enough to cost nothing, short enough to find one that became unknown. */
const NOTE_AGAIN_MICROS = 24 * 3600 * 1_000_000

/** Notices over an open database, which the caller closes after it. */
export function createChannelNotices(deps: {
  readonly db: Queryable
  readonly clock: Clock
  readonly logger: Logger
}): ChannelNotices {
  const { db, clock, logger } = deps
  const noted = new Map<string, number>()
  let pending: ChannelNotice[] = []
  const commits = createGroupCommit<ChannelNotice>({
    write: (notices) => saveNotices(db, notices),
    groupMax: GROUP_MAX,
    queueMax: QUEUE_MAX,
    waitMaxMs: WAIT_MAX_MS,
    drainMaxMs: DRAIN_MAX_MS,
    onFailure: (error, notices) => {
      logger.warn({ err: error, notices }, 'lifecycle notices could not be kept; their senders come again')
    },
  })

  async function note(): Promise<number> {
    const batch = pending.slice(0, GROUP_MAX)
    await saveNotices(db, batch)
    pending = pending.slice(batch.length)
    return pending.length > 0 ? 0 : NOTE_EVERY_MS
  }

  function seen(
    vendor: VendorName,
    { id, resourceId }: { id: string; resourceId: string },
    claims: ChannelClaims,
  ): void {
    const now = clock.now()
    const last = noted.get(id)
    if ((last !== undefined && now - last < NOTE_AGAIN_MICROS) || pending.length >= PENDING_MAX) return
    noted.delete(id)
    noted.set(id, now)
    const [oldest] = noted.keys()
    if (noted.size > KNOWN_MAX && oldest !== undefined) noted.delete(oldest)
    pending.push({
      vendor,
      channelId: id,
      kind: 'seen',
      connectionId: claims.connectionId,
      resourceId: resourceId === '' ? null : resourceId,
    })
  }

  const loop = startLoop('the list of channels that ring', note, logger)
  return {
    seen,
    tell: async (notices) => {
      const answers = await Promise.all(notices.map((notice) => commits.commit(notice)))
      return answers.every((answer) => answer === 'durable')
    },
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]()
      await commits[Symbol.asyncDispose]()
    },
  }
}
