// What notifications tell about their channels, for the scheduler. Two ways: a lifecycle notice is
// durable before its 2xx; that a channel rings at all is noted on the side, best effort, so that
// one which we do not know can be stopped. Invariants: noting waits for nothing, fails nothing and
// holds a bounded number of channels, in all and of each connection; a notice that Postgres
// refuses keeps no other back.
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Logger } from '#shared/process/log.ts'
import { startLoop } from '#shared/process/loop.ts'
import type { Queryable } from '#shared/store/database.ts'
import { writeApart } from '#shared/process/put-aside.ts'
import {
  saveNotices,
  saveRefused,
  type ChannelNotice,
  type RefusedChannel,
} from '#shared/store/channel-notices.ts'
import { createGroupCommit } from '../group-commit.ts'

export interface ChannelNotices extends AsyncDisposable {
  /**
   * Whether these are committed, or put aside for good; false is answered 503. Never rejects.
   */
  tell(notices: readonly ChannelNotice[]): Promise<boolean>
  /**
   * A channel rang. `resourceId` as Google names it, else ''. `claims` of its token, null where
   * that was missing or wrong, so that it was refused.
   */
  seen(vendor: VendorName, channel: { id: string; resourceId: string }, claims: ChannelClaims | null): void
}

const GROUP_MAX = 500
const QUEUE_MAX = 5000
const WAIT_MAX_MS = 2500
const NOTE_EVERY_MS = 5000
/** Some 4 MB of ids; beyond it the connection that was noted longest ago is forgotten. */
const KNOWN_MAX = 20_000
const PENDING_MAX = 5000
/**
 * Ids under which something was refused, between two looks. Strangers may fill it: then finds tell
 * (`note-finds.ts` of sync).
 */
const REFUSED_MAX = 500
/** Of one connection, noted in a day: more than a mailbox has calendars of its own. */
export const CONNECTION_MAX = 250
/**
 * A channel is noted once in this time:
 * long enough to cost nothing, short enough to find one that became unknown.
 */
const NOTE_AGAIN_MICROS = 24 * 3600 * 1_000_000

/** Notices over an open database, which the caller closes after it. */
export function createChannelNotices(deps: {
  readonly db: Queryable
  readonly clock: Clock
  readonly logger: Logger
  /** ms between two looks at what rang; 5 000 when absent. */
  readonly noteEveryMs?: number
}): ChannelNotices {
  const { db, clock, logger, noteEveryMs = NOTE_EVERY_MS } = deps
  const isNew = createNoted(clock)
  let pending: ChannelNotice[] = []
  const refused = createRefused(db)

  function putAside(error: unknown, { vendor, kind, connectionId, channelId }: ChannelNotice): void {
    logger.error(
      { err: error, vendor, kind, connectionId, channelId: channelId.slice(0, 64) },
      'Postgres does not take a notice of a channel; its neighbours are kept',
    )
  }

  const commits = createGroupCommit<ChannelNotice>({
    what: 'notice',
    write: (notices) => saveNotices(db, notices),
    groupMax: GROUP_MAX,
    queueMax: QUEUE_MAX,
    waitMaxMs: WAIT_MAX_MS,
    onFailure: (error, notices) => {
      logger.warn({ err: error, notices }, 'lifecycle notices could not be kept; their senders come again')
    },
    onRefused: putAside,
  })

  async function note(): Promise<number> {
    const batch = pending.slice(0, GROUP_MAX)
    const aside = await writeApart('notice', batch, (part) => saveNotices(db, part))
    for (const { item, error } of aside) putAside(error, item)
    pending = pending.slice(batch.length)
    await refused.save()
    return pending.length > 0 ? 0 : noteEveryMs
  }

  function seen(
    vendor: VendorName,
    { id, resourceId }: { id: string; resourceId: string },
    claims: ChannelClaims | null,
  ): void {
    if (claims === null) return refused.add({ vendor, channelId: id })
    const { connectionId } = claims
    if (pending.length >= PENDING_MAX || !isNew(connectionId, id)) return
    pending.push({
      vendor,
      channelId: id,
      kind: 'seen',
      connectionId,
      resourceId: resourceId === '' ? null : resourceId,
    })
  }

  const loop = startLoop('the list of channels that ring', note, logger)
  return {
    seen,
    tell: async (notices) => {
      const answers = await Promise.all(notices.map((notice) => commits.commit(notice)))
      // What is refused for what it is would be refused again.
      return answers.every((answer) => answer === 'durable' || answer === 'refused')
    },
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]()
      await commits[Symbol.asyncDispose]()
    },
  }
}

/** The channels under whose ids something was refused since the last look. */
function createRefused(db: Queryable) {
  const refused = new Map<string, RefusedChannel>()
  return {
    add(channel: RefusedChannel): void {
      if (channel.channelId === '' || refused.size >= REFUSED_MAX) return
      refused.set(`${channel.vendor} ${channel.channelId}`, channel)
    },
    /** Best effort: what cannot be stored is told again by the next that is refused. */
    async save(): Promise<void> {
      if (refused.size === 0) return
      const told = [...refused.values()]
      refused.clear()
      await saveRefused(db, told)
    },
  }
}

/**
 * Says of a channel whether it was not noted in the last day, and is so from now on. By connection,
 * so that one that rings under many ids displaces only its own.
 */
function createNoted(clock: Clock) {
  const connections = new Map<ConnectionId, Map<string, number>>()
  let size = 0

  return (connection: ConnectionId, channel: string): boolean => {
    const now = clock.now()
    const own = connections.get(connection) ?? new Map<string, number>()
    const last = own.get(channel)
    if (last !== undefined && now - last < NOTE_AGAIN_MICROS) return false
    const [first] = own
    if (own.size >= CONNECTION_MAX && first !== undefined) {
      if (now - first[1] < NOTE_AGAIN_MICROS) return false
      if (own.delete(first[0])) size -= 1
    }
    if (own.delete(channel)) size -= 1
    own.set(channel, now)
    size += 1
    connections.delete(connection)
    connections.set(connection, own)
    for (const [oldest, its] of connections) {
      if (size <= KNOWN_MAX) break
      connections.delete(oldest)
      size -= its.size
    }
    return true
  }
}
