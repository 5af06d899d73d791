// A codec for services, which start without the schema registry: the ids of our schemas are looked
// up until they are found, and where the registry is away they are those that the deployment noted
// (schema-ids.ts). Invariants: once found they stay, since ids are immutable; until then nothing is
// encoded and no record is read, not even one of a schema that is known, so no work is begun whose
// messages could not be sent.
import { Failure } from '#shared/domain/failure.ts'
import type { Logger } from '#shared/process/log.ts'
import { startLoop, until } from '#shared/process/loop.ts'
import { type Codec, type CodecConfig, codecOfIds, openCodec } from './codec.ts'
import { readSchemaIds } from './schema-ids.ts'

/** Nothing is looked for any more. Node's timers hold no more than that: 24 days. */
const IDLE_MS = 2 ** 31 - 1

/**
 * Returns after the first look, at the latest after 10 s, whether the ids were found or not. Until
 * they are, `encode` and `decode` throw Failure `registry/unavailable`. Rejects only when the
 * signal is aborted.
 */
export async function openLiveCodec(
  config: CodecConfig & { /** Where the deployment noted the ids. */ readonly idsPath?: string | undefined },
  logger: Logger,
  signal: AbortSignal,
): Promise<Codec & AsyncDisposable> {
  signal.throwIfAborted()
  const firstLook = Promise.withResolvers<void>()
  let codec: Codec | null = null
  const loop = startLoop(
    'the look for the ids of our schemas',
    async (stop) => {
      try {
        codec = await openCodec(config, stop)
      } catch (error) {
        // One that answers and refuses us is a mistake to be told, not an outage.
        const isAway = error instanceof Failure && error.code === 'registry/unavailable'
        const ids = isAway ? readSchemaIds(config) : null
        if (ids === null) throw error
        codec = codecOfIds(config, ids)
        logger.warn({ err: error }, 'the ids of our schemas are those that the deployment noted')
      } finally {
        firstLook.resolve()
      }
      return IDLE_MS
    },
    logger,
  )
  const problem = () => (codec === null ? (loop.problem() ?? 'the schema registry was not asked yet') : null)
  const known = (): Codec => {
    if (codec === null) throw new Failure('registry/unavailable', problem() ?? undefined)
    return codec
  }
  await until(firstLook.promise, signal)
  if (signal.aborted) await loop[Symbol.asyncDispose]()
  signal.throwIfAborted()
  return {
    problem,
    encode: (topic, message) => known().encode(topic, message),
    decode: async (topic, value) => known().decode(topic, value),
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  }
}
