// Which shards this relay holds. Leases say who works; they are not what keeps the stream in order: that is the broker, which
// fences a predecessor's producer. So a lease may be lost late, and the shard of a dead relay is taken within its length.
import type { Logger } from '#shared/platform/log.ts'
import type { Database } from '#shared/platform/postgres.ts'
import { SHARDS } from '#shared/domain/ids.ts'
import { leaveRelays, releaseShard, renewShards, takeShards, type ShardLease } from '#shared/store/relay.ts'

/** A dead relay's shards are taken at most LEASE_MS + BEAT_MS after its last beat. */
const LEASE_MS = 5000
const BEAT_MS = 1000

export interface ShardsDeps {
  readonly db: Database
  readonly owner: string
  readonly logger: Logger
  /** We hold the shard from now on. `previousOwner` is set when a lease ran out instead of being given back. */
  readonly taken: (lease: ShardLease, previousOwner: string | null) => void
  /** Somebody else holds the shard. */
  readonly lost: (lease: ShardLease) => void
  /** Ends the work on a shard that we give to another relay; resolves when nothing of it runs any more. */
  readonly surrender: (lease: ShardLease) => Promise<void>
}

export interface Shards {
  /** Renews, takes, gives up its surplus; once. Throws Failure `store/*`. */
  beat(): Promise<void>
  /** Drops a shard whose producer was fenced: from the next beat on it is free for whoever comes first, if the lease was still ours. */
  drop(lease: ShardLease): void
  /** Gives everything back and leaves. Call after the work on all shards ended. Throws Failure `store/*`. */
  leave(): Promise<void>
  readonly beatMs: number
}

export function createShards(deps: ShardsDeps): Shards {
  const held = new Map<number, ShardLease>()
  const leaving = new Set<number>()
  /** Leases to be given back; kept until Postgres took them, or a shard would be renewed for ever and worked on by nobody. */
  const returning = new Set<ShardLease>()

  async function beat(): Promise<void> {
    await release()
    const holding = await renewShards(deps.db, deps.owner, LEASE_MS)
    settle(holding.held)
    const share = fairShare(holding.members, deps.owner)
    const kept = held.size - leaving.size
    for (const lease of surplus(kept - share)) void giveUp(lease)
    if (kept < share && leaving.size === 0) {
      for (const lease of await takeShards(deps.db, deps.owner, share - kept, LEASE_MS)) {
        held.set(lease.shard, lease)
        deps.taken(lease, lease.previousOwner)
      }
    }
  }

  /** What the database says we hold is the truth; a take whose answer was lost on the way shows up here. */
  function settle(leases: readonly ShardLease[]): void {
    const confirmed = new Map(leases.map((lease) => [lease.shard, lease]))
    for (const lease of [...held.values()]) {
      if (confirmed.get(lease.shard)?.epoch === lease.epoch) continue
      held.delete(lease.shard)
      leaving.delete(lease.shard)
      deps.lost(lease)
    }
    for (const lease of leases) {
      if (held.has(lease.shard)) continue
      held.set(lease.shard, lease)
      deps.taken(lease, null)
    }
  }

  function surplus(count: number): readonly ShardLease[] {
    if (count <= 0) return []
    return [...held.values()].filter((lease) => !leaving.has(lease.shard)).slice(-count)
  }

  async function giveUp(lease: ShardLease): Promise<void> {
    leaving.add(lease.shard)
    await deps.surrender(lease)
    returning.add(lease)
    // The next beat tries again.
    await release().catch((error: unknown) =>
      deps.logger.debug({ err: error }, 'a shard is given back later'),
    )
  }

  function drop(lease: ShardLease): void {
    returning.add(lease)
  }

  async function release(): Promise<void> {
    for (const lease of [...returning]) {
      await releaseShard(deps.db, deps.owner, lease)
      returning.delete(lease)
      if (held.get(lease.shard)?.epoch !== lease.epoch) continue
      held.delete(lease.shard)
      leaving.delete(lease.shard)
    }
  }

  async function leave(): Promise<void> {
    for (const lease of held.values()) returning.add(lease)
    await release()
    await leaveRelays(deps.db, deps.owner)
  }

  return { beat, drop, leave, beatMs: BEAT_MS }
}

/** How many shards a relay holds when all are alive: the remainder goes to the first in the list, so the shares add up to all. */
export function fairShare(members: readonly string[], owner: string): number {
  const rank = members.indexOf(owner)
  if (rank === -1) return 0
  return Math.floor(SHARDS / members.length) + (rank < SHARDS % members.length ? 1 : 0)
}
