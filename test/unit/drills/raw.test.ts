// The raw ledgers of a run: everything that a verdict rests on can be read again,
// and no secret lies beside it.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { keepLedgers } from '../../drills/report/raw.ts'
import { CALENDAR, goodLedgers, KEY } from './hand-made.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'calstream-raw-'))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function linesOf(name: string): unknown[] {
  const text = gunzipSync(readFileSync(path.join(folder, `${name}.jsonl.gz`))).toString('utf8')
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown)
}

test('hold each entry of each ledger, maps and bytes included, of the last run only', async () => {
  const ledgers = goodLedgers()
  await keepLedgers(folder, goodLedgers({ changes: [] }))
  await keepLedgers(folder, ledgers)
  expect(linesOf('changes')).toEqual(ledgers.changes)
  expect(linesOf('audit')).toEqual(ledgers.audit)
  expect(linesOf('accounts')).toMatchObject([{ calendars: { a: CALENDAR } }])
  expect(linesOf('truth')).toMatchObject([[KEY, { etag: '"2"' }]])
  const [first] = ledgers.topics.get(TOPICS.eventChanged) ?? []
  expect(linesOf('topics')).toHaveLength(4)
  expect(linesOf('topics')[0]).toMatchObject({
    topic: TOPICS.eventChanged,
    offset: String(first?.offset),
    value: first?.value?.toString('base64'),
    headers: Object.fromEntries(first?.headers ?? []),
  })
})

test('hold no canary, although the run knew them', async () => {
  const ledgers = goodLedgers()
  await keepLedgers(folder, ledgers)
  const everything = readdirSync(folder)
    .map((name) => gunzipSync(readFileSync(path.join(folder, name))).toString('utf8'))
    .join('\n')
  expect(ledgers.secrets.size).toBeGreaterThan(0)
  for (const secret of ledgers.secrets.values()) expect(everything).not.toContain(secret)
  expect(everything).toContain(KEY)
})
