// The page of the fleet as it changes: server-sent events, each with the page's inner part anew.
// Invariants: a reading is rendered once for all who watch; a browser that does not take what is
// sent is let go, and holds no memory; no stream outlives its session for long.
// html.spec.whatwg.org/multipage/server-sent-events.html
import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { PageTrouble } from '../http/server.ts'
import { FLEET_LIVE, fleetView } from '../pages/fleet.ts'
import type { Watch } from './facts.ts'

export interface Live extends Disposable {
  /** Sends what the last reading found to all who watch. Never rejects. */
  tell(): Promise<void>
  /** How many watch. */
  readonly size: number
}

const WATCHERS_MAX = 100
/** A browser comes again at once, and shows its cookie anew. */
const STREAM_MAX_MS = 600_000
/** Older than this, a reading is not what is so now. */
const FRESH_MS = 2_000
/** One page has some 10 kB. */
const UNSENT_MAX = 256_000

/** Registers the stream. */
export function registerLive(app: FastifyInstance, watch: Watch): Live {
  const watchers = new Set<ServerResponse>()

  const message = async (): Promise<string> => {
    const text = fleetView(await watch.read(), watch.history.last()).text
    return `${text
      .split('\n')
      .map((line) => `data: ${line}`)
      .join('\n')}\n\n`
  }

  async function tell(): Promise<void> {
    if (watchers.size === 0) return
    const text = await message().catch(() => null)
    if (text === null) return
    for (const raw of watchers)
      if (raw.writableLength > UNSENT_MAX) raw.destroy()
      else raw.write(text)
  }

  app.get(FLEET_LIVE, async (_request, reply) => {
    if (watchers.size >= WATCHERS_MAX)
      throw new PageTrouble({
        status: 503,
        title: 'Too many watch',
        detail: 'Reload the page to see what is so now.',
      })
    const first = await message()
    reply.hijack()
    const { raw } = reply
    raw.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    raw.write(first)
    watchers.add(raw)
    // Readings are rare while no page is open.
    if (watch.ageMs() > FRESH_MS) void watch.refresh().then(tell)
    const end = setTimeout(() => raw.end(), STREAM_MAX_MS)
    raw.on('close', () => {
      clearTimeout(end)
      watchers.delete(raw)
    })
  })

  return {
    tell,
    get size() {
      return watchers.size
    },
    [Symbol.dispose]() {
      for (const raw of watchers) raw.end()
    },
  }
}
