// @platformatic/kafka's consumer, reading committed records by the markers in the log itself.
// Its own filter (2.12.1) knows one range per producer and answer: from an aborted transaction
// to the last abort marker of that producer, so a transaction that was aborted without a record
// (a relay that was killed early) hides every committed record between the two. Here a batch is
// shown when the next marker of its producer is a commit, and nothing is shown behind the first
// batch that has no marker yet.
import { setTimeout as delay } from 'node:timers/promises'
import { callbackify } from 'node:util'
import { Consumer, type CallbackWithPromise, type FetchOptions } from '@platformatic/kafka'

const IS_TRANSACTIONAL = 0b01_0000
const IS_CONTROL = 0b10_0000
const READ_UNCOMMITTED = 0
/** Everything that came is undecided: asking again at once would bring the same. */
const UNDECIDED_WAIT_MS = 50

/** What is looked at of a batch of the fetch protocol. */
export interface LogBatch {
  readonly attributes: number
  readonly producerId: bigint
  /** The key of a marker: version and type as two 16-bit numbers; type 1 is a commit. */
  readonly records: readonly { readonly key: Buffer | null }[]
}

/**
 * Pure: of consecutive batches of one partition those that a reader of committed records
 * gets now, markers included.
 */
export function committedBatches<B extends LogBatch>(batches: readonly B[]): readonly B[] {
  const next = new Map<bigint, 'commit' | 'abort'>()
  let end = batches.length
  const isShown = batches.map(() => true)
  for (let index = batches.length - 1; index >= 0; index -= 1) {
    const batch = batches[index]!
    if (batch.attributes & IS_CONTROL) {
      next.set(batch.producerId, batch.records[0]?.key?.readInt16BE(2) === 1 ? 'commit' : 'abort')
    } else if (batch.attributes & IS_TRANSACTIONAL) {
      const fate = next.get(batch.producerId)
      if (fate === undefined) end = index
      isShown[index] = fate === 'commit'
    }
  }
  return batches.filter((_, index) => index < end && isShown[index])
}

type Options = FetchOptions<Buffer, Buffer, Buffer, Buffer>
type FetchResponse = Awaited<ReturnType<Consumer['fetch']>>

export class CommittedConsumer extends Consumer {
  override fetch(options: Options, callback: CallbackWithPromise<FetchResponse>): void
  override fetch(options: Options): Promise<FetchResponse>
  override fetch(
    options: Options,
    callback?: CallbackWithPromise<FetchResponse>,
  ): Promise<FetchResponse> | undefined {
    const asked = super.fetch({ ...options, isolationLevel: READ_UNCOMMITTED }).then(onlyCommitted)
    if (!callback) return asked
    callbackify(() => asked)(callback)
    return undefined
  }
}

async function onlyCommitted(answer: FetchResponse): Promise<FetchResponse> {
  let came = 0
  let shown = 0
  for (const { partitions } of answer.responses)
    for (const partition of partitions) {
      came += partition.records?.length ?? 0
      if (partition.records) partition.records = [...committedBatches(partition.records)]
      shown += partition.records?.length ?? 0
    }
  if (came > 0 && shown === 0) await delay(UNDECIDED_WAIT_MS)
  return answer
}
