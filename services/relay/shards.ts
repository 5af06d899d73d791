// Which shards this relay holds. Leases say who works; they are not what keeps the stream in order:
// that is the broker, which fences a predecessor's producer. So a lease may be lost late, and the
// shard of a dead relay is taken within its length.
import type { Logger } from '#shared/process/log.ts'
import type { Database } from '#shared/store/database.ts'
import { SHARDS } from '#shared/domain/ids.ts'
import { leaveRelays, releaseShard, renewShards, takeShards, type ShardLease } from '#shared/store/relay.ts'
import { shardTaken } from './observe.ts'
import type { ShardLoops } from './shard-loops.ts'

/** A dead relay's shards are taken at most LEASE_MS + BEAT_MS after its last beat. */
const LEASE_MS = 5000
const BEAT_MS = 1000

interface ShardsDeps {
  readonly db: Database
  readonly owner: string
  readonly logger: Logger
  /** Who works on what we hold. */
  readonly loops: Pick<ShardLoops, 'take' | 'end'>
}

export class Shards {
  readonly #deps: ShardsDeps
  readonly #owned = new Map<number, ShardLease>()
  readonly #leaving = new Set<number>()
  /** Kept until Postgres took them back, or a shard would be renewed for ever and not worked on. */
  readonly #returning = new Set<ShardLease>()

  constructor(deps: ShardsDeps) {
    this.#deps = deps
  }

  /**
   * Renews, takes, gives up its surplus; once.
   * @returns ms until the next beat. Throws Failure `store/*`.
   */
  async beat(): Promise<number> {
    const { db, owner, logger } = this.#deps
    await this.#release()
    const tenure = await renewShards(db, owner, LEASE_MS)
    this.#settle(tenure.owned)
    const share = fairShare(tenure.members, owner)
    const staying = [...this.#owned.values()].filter((lease) => !this.#leaving.has(lease.shard))
    for (const lease of staying.slice(share)) void this.#giveUp(lease)
    if (staying.length >= share || this.#leaving.size > 0) return BEAT_MS
    const free = await takeShards(db, owner, share - staying.length, LEASE_MS)
    for (const { previousOwner, ...lease } of free) this.#take(lease, previousOwner)
    if (free.length > 0)
      logger.info({ taken: free.map(({ shard }) => shard), relays: tenure.members.length }, 'shards taken')
    return BEAT_MS
  }

  /** Its producer was fenced: the next beat gives the lease back, if it is still ours. */
  drop(lease: ShardLease): void {
    this.#returning.add(lease)
  }

  /** Gives everything back, once the work on all shards has ended. Throws Failure `store/*`. */
  async leave(): Promise<void> {
    for (const lease of this.#owned.values()) this.#returning.add(lease)
    await this.#release()
    await leaveRelays(this.#deps.db, this.#deps.owner)
  }

  /** The database has the truth: a take whose answer was lost on the way shows up here. */
  #settle(leases: readonly ShardLease[]): void {
    const confirmed = new Map(leases.map((lease) => [lease.shard, lease]))
    for (const lease of this.#owned.values()) {
      if (confirmed.get(lease.shard)?.epoch === lease.epoch) continue
      this.#owned.delete(lease.shard)
      this.#leaving.delete(lease.shard)
      void this.#deps.loops.end(lease)
    }
    for (const lease of leases) if (!this.#owned.has(lease.shard)) this.#take(lease, null)
  }

  #take(lease: ShardLease, previousOwner: string | null): void {
    this.#owned.set(lease.shard, lease)
    shardTaken(this.#deps, lease, previousOwner)
    this.#deps.loops.take(lease)
  }

  async #giveUp(lease: ShardLease): Promise<void> {
    this.#leaving.add(lease.shard)
    await this.#deps.loops.end(lease)
    this.#returning.add(lease)
    // The next beat tries again.
    await this.#release().catch((error: unknown) =>
      this.#deps.logger.debug({ err: error }, 'a shard is given back later'),
    )
  }

  async #release(): Promise<void> {
    for (const lease of this.#returning) {
      await releaseShard(this.#deps.db, this.#deps.owner, lease)
      this.#returning.delete(lease)
      if (this.#owned.get(lease.shard)?.epoch !== lease.epoch) continue
      this.#owned.delete(lease.shard)
      this.#leaving.delete(lease.shard)
    }
  }
}

/**
 * How many shards a relay holds when all are alive: the remainder goes to the first in the list, so
 * the shares add up to all.
 */
export function fairShare(members: readonly string[], owner: string): number {
  const rank = members.indexOf(owner)
  if (rank === -1) return 0
  return Math.floor(SHARDS / members.length) + (rank < SHARDS % members.length ? 1 : 0)
}
