// Which shards this relay holds. Leases say who works; they are not what keeps the stream in order:
// that is the broker, which fences a predecessor's producer. So a lease may be lost late, and the
// shard of a dead relay is taken within its length.
import type { Logger } from '#shared/process/log.ts'
import type { Database } from '#shared/store/database.ts'
import { SHARDS } from '#shared/domain/ids.ts'
import { leaveRelays, releaseShard, renewShards, takeShards, type ShardLease } from '#shared/store/relay.ts'

/** A dead relay's shards are taken at most LEASE_MS + BEAT_MS after its last beat. */
const LEASE_MS = 5000
const BEAT_MS = 1000

export interface ShardsDeps {
  readonly db: Database
  readonly owner: string
  readonly logger: Logger
  /**
   * We hold the shard from now on. `previousOwner` is set when a lease ran out
   * instead of being given back.
   */
  readonly taken: (lease: ShardLease, previousOwner: string | null) => void
  /** Somebody else holds the shard. */
  readonly lost: (lease: ShardLease) => void
  /**
   * Ends the work on a shard that we give to another relay;
   * resolves when nothing of it runs any more.
   */
  readonly surrender: (lease: ShardLease) => Promise<void>
}

export class Shards {
  readonly beatMs = BEAT_MS
  readonly #deps: ShardsDeps
  readonly #owned = new Map<number, ShardLease>()
  readonly #leaving = new Set<number>()
  /**
   * Leases to be given back; kept until Postgres took them, or a shard would be renewed for ever
   * and worked on by nobody.
   */
  readonly #returning = new Set<ShardLease>()

  constructor(deps: ShardsDeps) {
    this.#deps = deps
  }

  /** Renews, takes, gives up its surplus; once. Throws Failure `store/*`. */
  async beat(): Promise<void> {
    const { db, owner, logger, taken } = this.#deps
    await this.#release()
    const tenure = await renewShards(db, owner, LEASE_MS)
    this.#settle(tenure.owned)
    const share = fairShare(tenure.members, owner)
    const kept = this.#owned.size - this.#leaving.size
    for (const lease of this.#surplus(kept - share)) void this.#giveUp(lease)
    if (kept >= share || this.#leaving.size > 0) return
    const free = await takeShards(db, owner, share - kept, LEASE_MS)
    for (const { previousOwner, ...lease } of free) {
      this.#owned.set(lease.shard, lease)
      taken(lease, previousOwner)
    }
    if (free.length > 0)
      logger.info({ taken: free.map(({ shard }) => shard), relays: tenure.members.length }, 'shards taken')
  }

  /**
   * Drops a shard whose producer was fenced: from the next beat on it is free for whoever comes
   * first, if the lease was still ours.
   */
  drop(lease: ShardLease): void {
    this.#returning.add(lease)
  }

  /**
   * Gives everything back and leaves. Call after the work on all shards ended.
   * Throws Failure `store/*`.
   */
  async leave(): Promise<void> {
    for (const lease of this.#owned.values()) this.#returning.add(lease)
    await this.#release()
    await leaveRelays(this.#deps.db, this.#deps.owner)
  }

  /**
   * What the database says we hold is the truth;
   * a take whose answer was lost on the way shows up here.
   */
  #settle(leases: readonly ShardLease[]): void {
    const confirmed = new Map(leases.map((lease) => [lease.shard, lease]))
    for (const lease of this.#owned.values()) {
      if (confirmed.get(lease.shard)?.epoch === lease.epoch) continue
      this.#owned.delete(lease.shard)
      this.#leaving.delete(lease.shard)
      this.#deps.lost(lease)
    }
    for (const lease of leases) {
      if (this.#owned.has(lease.shard)) continue
      this.#owned.set(lease.shard, lease)
      this.#deps.taken(lease, null)
    }
  }

  #surplus(count: number): readonly ShardLease[] {
    if (count <= 0) return []
    return [...this.#owned.values()].filter((lease) => !this.#leaving.has(lease.shard)).slice(-count)
  }

  async #giveUp(lease: ShardLease): Promise<void> {
    this.#leaving.add(lease.shard)
    await this.#deps.surrender(lease)
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
