// Loaded into a service before everything else, by `--import=…?file=<path>`. Its clock
// (shared/process/clock.ts) runs ahead of the machine's by the ms in the file. Timers, Kafka and
// sessions keep the machine's time. A source without such a clock ends the process: a drill would
// prove nothing.
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const OWN = '/services/shared/process/clock.ts'
const READ = 'Date.now() * 1000'
const LOOK_MS = 20

const file = new URL(import.meta.url).searchParams.get('file') ?? ''
const ahead = globalThis as { drillShiftMs?: number }

function look(): void {
  ahead.drillShiftMs = Number(readFileSync(file, 'utf8'))
}

function textOf(source: unknown): string {
  if (typeof source === 'string') return source
  return source instanceof Uint8Array ? new TextDecoder().decode(source) : ''
}

look()
setInterval(look, LOOK_MS).unref()

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context)
    if (!url.endsWith(OWN)) return loaded
    const source = textOf(loaded.source)
    if (!source.includes(READ)) throw new Error(`${OWN} reads its time in another way than this drill knows`)
    return { ...loaded, source: source.replace(READ, '(Date.now() + globalThis.drillShiftMs) * 1000') }
  },
})
