// The raw ledgers of a run as compressed lines of JSON, for readers who doubt a verdict. They hold
// no secrets: the canaries and the texts searched for them are left out. One folder per drill, the
// last run only, outside of the reports.
import { createWriteStream, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { plain } from './evidence.ts'

/**
 * Writes `<folder>/<ledger>.jsonl.gz`, replacing that of an earlier run. Rejects when the disk does
 * not take it.
 */
export async function keepLedgers(folder: string, ledgers: Ledgers): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, entries] of linesOf(ledgers)) {
    const target = createWriteStream(path.join(folder, `${name}.jsonl.gz`))
    await pipeline(Readable.from(jsonLines(entries)), createGzip(), target)
  }
}

function* jsonLines(entries: Iterable<unknown>): Generator<string> {
  for (const entry of entries) yield `${JSON.stringify(entry, plain)}\n`
}

function linesOf(ledgers: Ledgers): readonly (readonly [string, Iterable<unknown>])[] {
  const { changes, calls, webhooks, gates, nemesis, audit, requests, processes, samples, load, marks } =
    ledgers
  return [
    ['accounts', ledgers.accounts],
    ['truth', ledgers.truth],
    ['changes', changes],
    ['calls', calls],
    ['webhooks', webhooks],
    ['gates', gates],
    ['nemesis', nemesis],
    ['audit', audit],
    ['held', ledgers.held],
    ['connections', ledgers.connections],
    ['topics', records(ledgers)],
    ['logs', ledgers.logs.map(({ instance, raw }) => ({ instance, raw }))],
    ['processes', processes],
    ['samples', samples],
    ['load', load],
    ['scrapes', ledgers.scrapes],
    ['requests', requests],
    ['marks', [marks]],
  ]
}

/** The bytes as they lie on the topic; what they mean follows from them. */
function* records({ topics }: Ledgers): Generator<unknown> {
  for (const all of topics.values())
    for (const { message: _decoded, value, ...record } of all)
      yield { ...record, value: value?.toString('base64') ?? null }
}
