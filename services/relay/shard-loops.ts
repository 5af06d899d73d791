// The shards that this relay works on: one look finds those with rows, and they are drained side by
// side. Invariant: at most one drain runs per shard, and a shard in trouble (Kafka or Postgres
// away) is tried again within a second, without holding the others back.
import { until } from '#shared/process/loop.ts'
import { shardsWithRows, type ShardLease } from '#shared/store/relay.ts'
import { closeShard, drainShard, ownedShard, type OwnedShard, type RelayDeps } from './relay.ts'

const LOOK_MIN_MS = 20
const LOOK_MAX_MS = 500
/** 20 ms grow to 500 ms within some 2.5 s of silence: a burst is met awake. */
const LOOK_GROWTH = 1.25
const TROUBLE_WAIT_MIN_MS = 50
const TROUBLE_WAIT_MAX_MS = 1000
/** The forced exit comes after 10 s; the leases are to be given back before. */
const STOP_DEADLINE_MS = 5000

interface Entry {
  readonly shard: OwnedShard
  readonly stop: AbortController
  task: Promise<void> | null
  troubles: number
  notBeforeMs: number
}

interface ShardLoopsDeps extends RelayDeps {
  readonly fenced: (lease: ShardLease) => void
}

export class ShardLoops {
  readonly #deps: ShardLoopsDeps
  readonly #entries = new Map<number, Entry>()
  #waitMs = LOOK_MIN_MS

  constructor(deps: ShardLoopsDeps) {
    this.#deps = deps
  }

  get shards(): readonly number[] {
    return [...this.#entries.keys()]
  }

  /** Works on a shard from now on: its producer is opened at once, which fences the predecessor. */
  take(lease: ShardLease): void {
    const before = this.#entries.get(lease.shard)
    if (before) void this.end(before.shard.lease)
    const entry: Entry = {
      shard: ownedShard(lease),
      stop: new AbortController(),
      task: null,
      troubles: 0,
      notBeforeMs: 0,
    }
    this.#entries.set(lease.shard, entry)
    this.#start(entry)
  }

  /** Ends the work on a shard after its running batch; never rejects. */
  async end(lease: ShardLease): Promise<void> {
    const entry = this.#entries.get(lease.shard)
    if (entry?.shard.lease.epoch !== lease.epoch) return
    this.#entries.delete(lease.shard)
    await this.#finish(entry)
  }

  /** One look. @returns ms until the next. Throws Failure `store/*`. */
  async look(): Promise<number> {
    const now = performance.now()
    const idle = [...this.#entries.values()].filter((entry) => !entry.task && entry.notBeforeMs <= now)
    const ready = idle.length > 0 ? await shardsWithRows(this.#deps.db, idle.map(shardNumber)) : []
    for (const entry of idle) {
      if (ready.includes(shardNumber(entry)) || !entry.shard.producer) this.#start(entry)
    }
    const busy = [...this.#entries.values()].some((entry) => entry.task !== null)
    this.#waitMs = busy ? LOOK_MIN_MS : Math.min(LOOK_MAX_MS, this.#waitMs * LOOK_GROWTH)
    return this.#waitMs
  }

  /** Finishes running batches, at most 5 s, and closes every producer. */
  async close(): Promise<void> {
    const all = [...this.#entries.values()]
    this.#entries.clear()
    await Promise.all(all.map((entry) => this.#finish(entry)))
  }

  #start(entry: Entry): void {
    if (entry.task || entry.stop.signal.aborted) return
    entry.task = this.#work(entry).finally(() => {
      entry.task = null
    })
  }

  async #work(entry: Entry): Promise<void> {
    const { lease } = entry.shard
    const { logger } = this.#deps
    try {
      if ((await drainShard(this.#deps, entry.shard, entry.stop.signal)) === 'lost') await this.#lose(entry)
      else if (entry.troubles > 0) logger.info({ shard: lease.shard }, 'the shard publishes again')
      entry.troubles = 0
    } catch (error) {
      if (entry.troubles === 0)
        logger.warn({ err: error, shard: lease.shard }, 'a shard cannot publish; tried again')
      const waitMs = Math.min(TROUBLE_WAIT_MAX_MS, TROUBLE_WAIT_MIN_MS * 2 ** entry.troubles)
      entry.troubles += 1
      entry.notBeforeMs = performance.now() + waitMs
    }
  }

  async #lose(entry: Entry): Promise<void> {
    const { lease } = entry.shard
    if (this.#entries.get(lease.shard) === entry) this.#entries.delete(lease.shard)
    this.#deps.logger.info(
      { shard: lease.shard, epoch: lease.epoch },
      'a newer owner works on this shard; dropped',
    )
    this.#deps.fenced(lease)
    await this.#closeProducer(entry)
  }

  async #finish(entry: Entry): Promise<void> {
    entry.stop.abort()
    if (entry.task) await until(entry.task, AbortSignal.timeout(STOP_DEADLINE_MS))
    await this.#closeProducer(entry)
  }

  /** A producer that cannot say goodbye is gone all the same. */
  async #closeProducer({ shard }: Entry): Promise<void> {
    await closeShard(shard).catch((error: unknown) =>
      this.#deps.logger.debug({ err: error, shard: shard.lease.shard }, 'a producer did not close cleanly'),
    )
  }
}

function shardNumber(entry: Entry): number {
  return entry.shard.lease.shard
}
