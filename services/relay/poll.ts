// The shards that this relay works on: one look finds those with rows, each of them is drained by itself, several at once.
// Invariant: at most one drain runs per shard, and a shard in trouble (Kafka or Postgres away) is tried again within a second,
// without holding the others back.
import type { Logger } from '#shared/platform/log.ts'
import { pause } from '#shared/platform/loop.ts'
import { shardsWithRows, type ShardLease } from '#shared/store/relay.ts'
import { closeShard, drainShard, heldShard, type HeldShard, type RelayDeps } from './relay.ts'

const POLL_MIN_MS = 20
const POLL_MAX_MS = 500
/** 20 ms grow to 500 ms within some 2.5 s of silence: a burst is met awake, an idle relay asks twice a second. */
const POLL_GROWTH = 1.25
const TROUBLE_WAIT_MIN_MS = 50
const TROUBLE_WAIT_MAX_MS = 1000
/** The forced exit comes after 10 s; the leases are to be given back before. */
const STOP_DEADLINE_MS = 5000

interface Entry {
  readonly shard: HeldShard
  readonly stop: AbortController
  task: Promise<void> | null
  troubles: number
  notBeforeMs: number
}

export interface Poll {
  /** Works on a shard from now on: its producer is opened at once, which fences the predecessor. */
  take(lease: ShardLease): void
  /** Ends the work on a shard after its running batch. */
  end(lease: ShardLease): Promise<void>
  /** One look. @returns ms until the next. Throws Failure `store/*`. */
  look(): Promise<number>
  readonly shards: () => readonly number[]
  /** Finishes running batches, at most 5 s, and closes every producer. */
  close(): Promise<void>
}

export function createPoll(deps: RelayDeps & { readonly fenced: (lease: ShardLease) => void }): Poll {
  const entries = new Map<number, Entry>()
  let waitMs = POLL_MIN_MS

  function take(lease: ShardLease): void {
    const before = entries.get(lease.shard)
    if (before) void end(before.shard.lease)
    const entry: Entry = {
      shard: heldShard(lease),
      stop: new AbortController(),
      task: null,
      troubles: 0,
      notBeforeMs: 0,
    }
    entries.set(lease.shard, entry)
    start(entry)
  }

  async function end(lease: ShardLease): Promise<void> {
    const entry = entries.get(lease.shard)
    if (entry?.shard.lease.epoch !== lease.epoch) return
    entries.delete(lease.shard)
    await finish(entry)
  }

  async function look(): Promise<number> {
    const idle = [...entries.values()].filter(
      (entry) => !entry.task && entry.notBeforeMs <= performance.now(),
    )
    const ready = idle.length > 0 ? await shardsWithRows(deps.db, idle.map(shardNumber)) : []
    for (const entry of idle) {
      if (ready.includes(shardNumber(entry)) || !entry.shard.producer) start(entry)
    }
    const busy = [...entries.values()].some((entry) => entry.task)
    waitMs = busy ? POLL_MIN_MS : Math.min(POLL_MAX_MS, waitMs * POLL_GROWTH)
    return waitMs
  }

  function start(entry: Entry): void {
    if (entry.task || entry.stop.signal.aborted) return
    entry.task = work(entry).finally(() => {
      entry.task = null
    })
  }

  async function work(entry: Entry): Promise<void> {
    const { lease } = entry.shard
    try {
      if ((await drainShard(deps, entry.shard, entry.stop.signal)) === 'lost') {
        if (entries.get(lease.shard) === entry) entries.delete(lease.shard)
        await closeQuietly(entry.shard, deps.logger)
        deps.logger.info(
          { shard: lease.shard, epoch: lease.epoch },
          'a newer owner works on this shard; dropped',
        )
        deps.fenced(lease)
      }
      if (entry.troubles > 0) deps.logger.info({ shard: lease.shard }, 'the shard publishes again')
      entry.troubles = 0
    } catch (error) {
      if (entry.troubles === 0)
        deps.logger.warn({ err: error, shard: lease.shard }, 'a shard cannot publish; tried again')
      const waitMs = Math.min(TROUBLE_WAIT_MAX_MS, TROUBLE_WAIT_MIN_MS * 2 ** entry.troubles)
      entry.troubles += 1
      entry.notBeforeMs = performance.now() + waitMs
    }
  }

  async function finish(entry: Entry): Promise<void> {
    entry.stop.abort()
    const ended = new AbortController()
    if (entry.task) {
      const task = entry.task.finally(() => ended.abort())
      await Promise.race([task, pause(STOP_DEADLINE_MS, ended.signal)])
    }
    await closeQuietly(entry.shard, deps.logger)
  }

  async function close(): Promise<void> {
    const all = [...entries.values()]
    entries.clear()
    await Promise.all(all.map(finish))
  }

  return { take, end, look, shards: () => [...entries.keys()], close }
}

function shardNumber(entry: Entry): number {
  return entry.shard.lease.shard
}

/** A producer that cannot say goodbye is gone all the same. */
async function closeQuietly(shard: HeldShard, logger: Logger): Promise<void> {
  try {
    await closeShard(shard)
  } catch (error) {
    logger.debug({ err: error, shard: shard.lease.shard }, 'a producer did not close cleanly')
  }
}
