// docs/glossary.md is kept true: each of its words is in use, and a word that another one replaced
// is gone. Code is read by words, so `coolDown`, `cool_down` and "cool down" are the same.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { WRITTEN_PAGES } from './support/pages.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const PAGE = 'docs/glossary.md'
const DRILL_WORDS = 'Words of the drills'
const MONITORING_WORDS = 'Words of the alerts'
const RETIRED = 'Say this, not that'
/** The glossary itself names the old words. */
const PAGES = WRITTEN_PAGES.filter((page) => page !== PAGE)
/**
 * What others know by its old name keeps it: columns, values of the API and of metrics, texts of
 * log lines, and the picture of ADR 1.
 */
const KEPT_NAMES = [
  'rest_until',
  'resting as "',
  "'resting'",
  '`resting`',
  'resting: paused',
  'a rest could not be stored',
  'a group of rings',
  'not take a ring',
  'message is a doorbell',
  "'nobody'",
  '`nobody`',
]

const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

function codeFiles(top: string): string[] {
  return readdirSync(path.join(ROOT, top), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)))
}

function codeOf(top: string): ReadonlyMap<string, string> {
  return new Map(codeFiles(top).map((file) => [file, asWords(withoutKeptNames(`${file}\n${read(file)}`))]))
}

function withoutKeptNames(text: string): string {
  return KEPT_NAMES.reduce((left, name) => left.replaceAll(name, ''), text)
}

/** Identifiers, paths and comments as plain words with one space between them. */
function asWords(text: string): string {
  return text
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replaceAll(/[\s_/*-]+/g, ' ')
    .toLowerCase()
}

/** Finds the word in any usual form: rings, owed, gives way. */
function formsOf(word: string): RegExp {
  const parts = asWords(word).split(' ')
  return new RegExp(String.raw`\b${parts.map((part) => `${part}(?:e?s|e?d|ing)?`).join(' ')}\b`)
}

const exactly = (phrase: string): RegExp => new RegExp(String.raw`\b${asWords(phrase)}s?\b`)

interface Row {
  readonly section: string
  /** The line of text before the table. */
  readonly above: string
  readonly first: string
  readonly second: string
}

function rowsOf(page: string): Row[] {
  const rows: Row[] = []
  let section = ''
  let above = ''
  for (const line of page.split('\n')) {
    const [, first = '', second = ''] = /^\| (.+?) \| (.+) \|$/.exec(line) ?? []
    if (line.startsWith('## ')) section = line.slice(3)
    else if (first !== '') rows.push({ section, above, first, second })
    else if (line !== '' && !line.startsWith('|')) above = line
  }
  return rows.filter(({ first }) => first !== 'word' && first !== 'say')
}

const rows = rowsOf(read(PAGE))
const words = rows
  .filter(({ section }) => section !== RETIRED)
  .flatMap(({ section, first }) => first.split(', ').map((word) => ({ section, word })))
const retired = rows
  .filter(({ section }) => section === RETIRED)
  .flatMap(({ above, second }) => second.split(', ').map((word) => ({ above, word })))

function usesOf(pattern: RegExp, texts: ReadonlyMap<string, string>): string[] {
  return [...texts].filter(([, text]) => pattern.test(text)).map(([file]) => file)
}

describe('the glossary', () => {
  const services = codeOf('services')
  const drills = codeOf('test/drills')
  const monitoring = codeOf('infra/monitoring')
  const rooms = new Map([
    [DRILL_WORDS, drills],
    [MONITORING_WORDS, monitoring],
  ])
  const pages = new Map(PAGES.map((page) => [page, asWords(withoutKeptNames(read(page)))]))

  test('has each word once', () => {
    expect(words.length).toBeGreaterThan(70)
    expect(words.map(({ word }) => word)).toEqual([...new Set(words.map(({ word }) => word))])
  })

  test.each(words)('has a word that is in use: $word', ({ section, word }) => {
    expect(usesOf(formsOf(word), rooms.get(section) ?? services)).not.toEqual([])
  })

  test.each(retired.filter(({ above }) => above.startsWith('Checked in `services`')))(
    'retired a word that neither code nor pages have: $word',
    ({ word }) => {
      expect([...usesOf(exactly(word), services), ...usesOf(exactly(word), pages)]).toEqual([])
    },
  )

  test.each(retired.filter(({ above }) => above.startsWith('Checked in the pages')))(
    'retired a word that no page has: $word',
    ({ word }) => {
      expect(usesOf(exactly(word), pages)).toEqual([])
    },
  )

  test('has a use for each name that is kept', () => {
    const all = [...codeFiles('services'), ...PAGES].map(read).join('\n')
    expect(KEPT_NAMES.filter((name) => !all.includes(name))).toEqual([])
  })

  test('retires words under three headings, two of which are checked', () => {
    const headings = [...new Set(retired.map(({ above }) => above.split(' ').slice(0, 2).join(' ')))]
    expect(headings).toEqual(['Checked in', 'Not checked'])
    expect(retired.filter(({ above }) => above.startsWith('Checked in `services`')).length).toBeGreaterThan(
      10,
    )
    expect(retired.filter(({ above }) => above.startsWith('Checked in the pages')).length).toBeGreaterThan(5)
  })
})

test.each([
  ['an identifier', 'const isFetched = dlqOf(record)', 'DLQ'],
  ['a constant', 'const DEAD_QUEUE_MAX = 1', 'dead queue'],
  ['a comment that is wrapped', '// goes to the dead\n// queue', 'dead queue'],
  ['a file', 'services/sync/dead-queue.ts', 'dead queue'],
  ['several', 'customers', 'customer'],
  ['a name of code', 'const isResting = restMs > 0', 'rest ms'],
  ['a noun that is a verb only', '// answers the ring of a channel', 'the ring'],
])('a retired word is found in %s', (_where, text, word) => {
  expect(exactly(word).test(asWords(text))).toBe(true)
})
