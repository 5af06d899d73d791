// What people read: comments and pages are no wider than a window, files say what they are for, and
// pages name files, scripts and tests that exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { WRITTEN_PAGES } from './support/pages.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const COLUMNS = 100

/** How the lines of a comment begin, by the end of a file's name. */
const COMMENT_LINE: Readonly<Record<string, RegExp>> = {
  '.ts': /^\s*(?:\/\/|\/\*|\*(?:[\s/]|$))/,
  '.mjs': /^\s*(?:\/\/|\/\*|\*(?:[\s/]|$))/,
  '.sql': /^\s*--/,
  '.sh': /^\s*#/,
  '.yaml': /^\s*#/,
  '': /^\s*#/,
}

/** The comment lines that are too wide; a single word, as an address is, cannot be wrapped. */
function tooWide(file: string, source: string): string[] {
  const begins = COMMENT_LINE[path.extname(file)]
  if (begins === undefined) return []
  return source
    .split('\n')
    .map((line, at) => ({ line, at: at + 1, columns: line.length }))
    .filter(({ line, columns }) => columns > COLUMNS && begins.test(line) && !isOneWord(line))
    .map(({ at, columns }) => `${file}:${at} has ${columns} columns`)
}

function isOneWord(line: string): boolean {
  const text = line.replace(/^\s*(?:\/\*\*?|\/\/|\*|--|#)/, '').replace(/\*\/\s*$/, '')
  return !/\s/.test(text.trim())
}

function filesOf(...tops: string[]): string[] {
  return tops.flatMap((top) =>
    readdirSync(path.join(ROOT, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name))),
  )
}

const FILES = filesOf('services', 'schemas', 'infra', 'test')

const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

/** The first group of each match. */
const matches = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] ?? '')

describe('the decisions in docs/adr', () => {
  test('have a number each, in the name and in the title', () => {
    const names = readdirSync(path.join(ROOT, 'docs/adr')).filter((name) => name.endsWith('.md'))
    const numbers = names.map((name) => Number(name.slice(0, 4)))
    expect(numbers.toSorted((a, b) => a - b)).toEqual(names.map((_, at) => at + 1))
    const titles = names.map((name) => Number(/^# (\d+)\. /.exec(read(`docs/adr/${name}`))?.[1]))
    expect(titles).toEqual(numbers)
  })
})

describe('comments', () => {
  test(`have at most ${COLUMNS} columns`, () => {
    expect(FILES.length).toBeGreaterThan(700)
    expect(FILES.flatMap((file) => tooWide(file, read(file)))).toEqual([])
  })

  const long = 'word '.repeat(COLUMNS / 5)
  test.each([
    ['a line', 'x.ts', `const a = 1\n  // ${long}`],
    ['a docstring', 'x.ts', `/** ${long} */`],
    ['a line of a docstring', 'x.mjs', `/**\n * ${long}\n */`],
    ['SQL', 'x.sql', `-- ${long}`],
    ['a shell script', 'x.sh', `# ${long}`],
    ['an image', 'Dockerfile', `# ${long}`],
  ])('that are too wide are found: %s', (_what, file, source) => {
    expect(tooWide(file, source)).toHaveLength(1)
  })

  test.each([
    ['a comment that just fits', 'x.ts', `// ${'é'.repeat(COLUMNS - 4)} a`.slice(0, COLUMNS)],
    [
      'an address, which has no place to be wrapped at',
      'x.ts',
      `/** https://example.com/${'x'.repeat(COLUMNS)} */`,
    ],
    ['code, which the formatter wraps', 'x.ts', `const a = '${long}' // short`],
    ['data', 'x.json', `// ${long}`],
  ])('leave alone %s', (_what, file, source) => {
    expect(tooWide(file, source)).toEqual([])
  })
})

/** The lines of prose that are too wide; no table, no code, no line that has no place to break. */
function tooWideProse(page: string, source: string): string[] {
  let isCode = false
  return source.split('\n').flatMap((line, at) => {
    if (/^\s*```/.test(line)) isCode = !isCode
    const canBreak = /\S\s/.test(line.trim().replaceAll(/`[^`]*`/g, '`'))
    if (isCode || line.startsWith('|') || line.length <= COLUMNS || !canBreak) return []
    return [`${page}:${at + 1} has ${line.length} columns`]
  })
}

describe('the prose of pages', () => {
  test(`has at most ${COLUMNS} columns`, () => {
    expect(WRITTEN_PAGES.length).toBeGreaterThan(25)
    expect(WRITTEN_PAGES.flatMap((page) => tooWideProse(page, read(page)))).toEqual([])
  })

  const long = 'word '.repeat(COLUMNS / 5)
  test.each([
    ['a paragraph', long + 'more'],
    ['an item', `- ${long}`],
    ['a line after code', `\`\`\`bash\nnpm test\n\`\`\`\n${long}more`],
  ])('that is too wide is found: %s', (_what, source) => {
    expect(tooWideProse('x.md', source)).toHaveLength(1)
  })

  test.each([
    ['a table', `| ${long} |`],
    ['code', `\`\`\`bash\n${long}more\n\`\`\``],
    ['an address', `https://example.com/${'x'.repeat(COLUMNS)}`],
    ['a command in the text', `\`npm test -- ${long}more\`.`],
  ])('may be wider: %s', (_what, source) => {
    expect(tooWideProse('x.md', source)).toEqual([])
  })
})

test('every file of services, schemas and infra begins with what it is for', () => {
  const sources = filesOf('services', 'schemas', 'infra').filter((file) => file.endsWith('.ts'))
  expect(sources.filter((file) => !/^\/[/*]/.test(read(file)))).toEqual([])
})

describe.each(WRITTEN_PAGES)('%s', (page) => {
  const text = read(page)

  test('names only files and folders that exist', () => {
    const named = matches(text, /`((?:services|schemas|infra|test|docs)\/[\w./-]+)`/g)
    const links = matches(text, /\]\(((?!https?:)[^)#]+)(?:#[^)]*)?\)/g)
    expect(named.filter((name) => !existsSync(path.join(ROOT, name)))).toEqual([])
    const files = matches(text, /`((?:[\w-]+\/)*[\w.-]+\.ts)`/g)
    expect(files.filter((name) => !FILES.some((file) => `/${file}`.endsWith(`/${name}`)))).toEqual([])
    expect(links.filter((link) => !existsSync(path.resolve(ROOT, path.dirname(page), link)))).toEqual([])
  })

  test('names only scripts that there are', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(read('package.json'))
    expect(matches(text, /npm run ([\w:]+)/g).filter((name) => !(name in scripts))).toEqual([])
  })
})

test('each command of CONTRIBUTING.md that runs some tests finds them', () => {
  const runs = [...read('CONTRIBUTING.md').matchAll(/--only=(\w+) ([\w/ -]+?)\s*[`#\n]/g)]
  expect(runs.length).toBeGreaterThan(8)
  const tests = filesOf('test').filter((file) => file.endsWith('.test.ts'))
  const isOf = (part: string, file: string) =>
    file.startsWith(`test/${part}/`) || (part === 'unit' && path.dirname(file) === 'test')
  const missed = runs.flatMap(([, part = '', words = '']) =>
    words.split(' ').filter((word) => !tests.some((file) => isOf(part, file) && file.includes(word))),
  )
  expect(missed).toEqual([])
})

test('CONTRIBUTING.md says which world to take: each of them, and each folder of test/integration', () => {
  const page = read('CONTRIBUTING.md')
  const worlds = FILES.filter((file) => /^test\/support\/(?:[\w-]+-)?world\.ts$/.test(file))
  const folders = readdirSync(path.join(ROOT, 'test/integration'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `test/integration/${entry.name}`)
  expect(worlds.length).toBeGreaterThan(5)
  expect(folders.length).toBeGreaterThan(10)
  expect([...worlds, ...folders].filter((name) => !page.includes(`\`${name}\``))).toEqual([])
})

test('the license is the same wherever it is told', () => {
  const manifest: { license: string } = JSON.parse(read('package.json'))
  const lock: { packages: Record<string, { license?: string }> } = JSON.parse(read('package-lock.json'))
  expect(manifest.license).toBe('Apache-2.0')
  expect(lock.packages['']?.license).toBe(manifest.license)
  expect(read('LICENSE')).toMatch(/Apache License\s+Version 2\.0/)
})

describe('the way from a notification to a row', () => {
  const page = read('docs/architecture.md')
  const title = 'From a notification to a row'
  const lines = (page.split(`### ${title}\n`)[1] ?? '').split('\n### ')[0] ?? ''
  const steps = [...lines.matchAll(/^\| (.+) \| (`.+|\w.+) \| (`.+) \|$/gm)].map(
    ([, step = '', functions = '', files = '']) => ({
      step,
      functions: matches(functions, /`(?:\w+\.)?(\w+)`/g),
      texts: pathsOf(matches(files, /`([\w./-]+)`/g)).map(read),
    }),
  )

  /** A bare name lies beside the file that is named before it. */
  function pathsOf(names: readonly string[]): string[] {
    let folder = ''
    return names.map((name) => {
      if (name.includes('/')) folder = `services/${path.posix.dirname(name)}`
      return `${folder}/${path.posix.basename(name)}`
    })
  }

  test('is a link of README, and has its steps', () => {
    expect(read('README.md')).toContain(`docs/architecture.md#${title.toLowerCase().replaceAll(' ', '-')}`)
    expect(steps.length).toBeGreaterThan(9)
  })

  test.each(steps)('names functions that are in the files beside them: $step', ({ functions, texts }) => {
    const isDefined = (name: string) =>
      texts.some((text) => new RegExp(String.raw`(?:function |^  (?:async )?)${name}[<(]`, 'm').test(text))
    expect(functions.length).toBeGreaterThan(0)
    expect(functions.filter((name) => !isDefined(name))).toEqual([])
  })

  test('ends at the statement that writes the row', () => {
    const [statement = ''] = matches(steps.at(-1)?.step ?? '', /`(.+)`/g)
    expect(statement).toContain('insert into')
    expect(steps.at(-1)?.texts.at(-1)?.includes(statement)).toBe(true)
  })
})
