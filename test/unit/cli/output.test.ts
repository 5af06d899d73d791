// What strangers wrote reaches a terminal as text and never as a command to it,
// wherever the command prints.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { complain, createOutput, harmless } from '../../../services/cli/output.ts'
import { COMPILED } from '../../support/compiled.ts'

/** One of each kind that a terminal obeys or that deceives a reader. */
const HOSTILE = {
  'a colour': '\u001b[31mred',
  'a title': '\u001b]0;owned\u0007',
  'the clipboard': '\u001b]52;c;Zm9v\u001b\\',
  'a C1 introducer': '\u009b2J',
  backspaces: 'paid\b\b\b\bowed',
  'a carriage return': 'real\rfake',
  'a tab': 'a\tb',
  NUL: 'a\u0000b',
  DEL: 'a\u007f',
  'right to left': 'user\u202egpj.exe',
  'an isolate': '\u2066x\u2069',
  'a mark of direction': 'a\u200fb\u061cc',
  'zero width': 'pay\u200bpal\ufeff',
  'a line separator': 'a\u2028b\u2029c',
  'an invisible tag': 'a\u{e0041}b',
  'half a pair': 'a\ud83d',
} as const
/** Where they are, written apart from the command's own list. */
const STEERING: readonly (readonly [number, number])[] = [
  [0, 9],
  [11, 31],
  [0x7f, 0x9f],
  [0x61c, 0x61c],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2066, 0x2069],
  [0xd800, 0xdfff],
  [0xfeff, 0xfeff],
  [0xe0000, 0xe007f],
]
const FINE = 'Anna Müller <anna@example.com> 日本 🗓 – „x“ ё'

afterEach(() => vi.restoreAllMocks())

/** What in a text steers a terminal. */
function steering(text: string): readonly number[] {
  return Array.from(text, (character) => character.codePointAt(0) ?? 0).filter((code) =>
    STEERING.some(([from, to]) => code >= from && code <= to),
  )
}

/** What the work printed to stdout and stderr. */
function printed(work: () => void): string {
  const lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation((text: unknown) => void lines.push(String(text)))
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0)
  work()
  return lines.join('\n')
}

describe.each(Object.entries(HOSTILE))('%s', (_what, text) => {
  const ways = {
    rows: (json: boolean) => createOutput(json).rows([{ label: text, nested: { text } }], ''),
    empty: (json: boolean) => createOutput(json).rows([], text),
    object: (json: boolean) => createOutput(json).object({ label: text, nested: [text] }),
    text: (json: boolean) => createOutput(json).text(text),
    line: (json: boolean) => createOutput(json).line(text),
    error: () => complain(`The vendor says: ${text}`),
  }
  test.each(Object.entries(ways))('steers no terminal by %s', (_way, print) => {
    for (const json of [false, true]) expect(steering(printed(() => print(json)))).toEqual([])
  })

  test('would steer one as it is (control)', () => {
    expect(steering(text)).not.toEqual([])
  })

  test('is the same text for who reads the JSON', () => {
    expect(JSON.parse(printed(() => createOutput(true).object({ text })))).toEqual({ text })
  })
})

describe('harmless text', () => {
  test('stays as it is, letters of all kinds and line feeds', () => {
    expect(harmless(`${FINE}\nnext`)).toBe(`${FINE}\nnext`)
  })

  test('shows what it replaced, and a cell keeps to its line', () => {
    expect(harmless('\u001b[31m')).toBe('\\u001b[31m')
    expect(printed(() => createOutput(false).object({ label: 'a\nstatus  fine' })).split('\n')).toHaveLength(
      1,
    )
  })
})

describe('a mistake in the settings of migrate', () => {
  const run = promisify(execFile)
  const SECRET = 'hunter2secret'

  /** Runs `calstream migrate` in an empty folder, with this file of passwords. */
  async function migrate(content: string | null): Promise<{ code: number; stderr: string }> {
    const folder = mkdtempSync(path.join(tmpdir(), 'calstream-passwords-'))
    try {
      const file = path.join(folder, 'passwords.json')
      if (content === null) mkdirSync(file)
      else writeFileSync(file, content)
      const main = path.resolve(import.meta.dirname, '../../../services/cli/main.ts')
      const env = {
        PATH: process.env['PATH'],
        ...COMPILED,
        POSTGRES_URL: 'postgres://nobody:x@127.0.0.1:9/none',
        CALSTREAM_ROLE_PASSWORDS_FILE: content === 'absent' ? `${file}.not` : file,
      }
      await run(process.execPath, [main, 'migrate'], { cwd: folder, env })
      return { code: 0, stderr: '' }
    } catch (error) {
      const { code, stderr } = error as { code: number; stderr: string }
      return { code, stderr }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  test.each([
    ['no JSON', `{"calstream_ingress":${SECRET}}`, 'CALSTREAM_ROLE_PASSWORDS_FILE must hold'],
    ['a list', `["${SECRET}"]`, 'CALSTREAM_ROLE_PASSWORDS_FILE must hold'],
    ['a number for a password', `{"${SECRET}": 1}`, 'CALSTREAM_ROLE_PASSWORDS_FILE must hold'],
    ['an empty file', '', 'CALSTREAM_ROLE_PASSWORDS_FILE must hold'],
    ['a folder', null, 'cannot be read (EISDIR)'],
    ['no file', 'absent', 'cannot be read (ENOENT)'],
  ])(
    '(%s) is told in one line, without a stack and without what is in the file',
    async (_what, content, says) => {
      const { code, stderr } = await migrate(content)
      expect(code).toBe(1)
      expect(stderr).toContain(says)
      expect(stderr.trim().split('\n')).toHaveLength(1)
      expect(stderr).not.toContain(SECRET.slice(0, 6))
    },
  )

  test('that it does not have is not told: the next one is (control)', async () => {
    const { stderr } = await migrate(`{"calstream_ingress": "${SECRET}"}`)
    expect(stderr).toContain('Postgres cannot be reached')
    expect(stderr).not.toContain(SECRET)
  })
})
