// The npm commands explain themselves: `--help` ends with 0 before anything is installed or
// started, a mistake with 2, and every option that an entry reads stands in its text.
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { usageOf, wholeNumber } from '../../../../infra/stack/usage.ts'
import { COMPILED } from '../../../support/compiled.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
}
const COMMANDS = ['start', 'test', 'drill', 'bench', 'restarts'] as const
const entryOf = (command: string): string => path.join(ROOT, scripts[command]?.split(' ').at(-1) ?? '')

async function run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  // The settings of whoever runs the tests would count as an installation.
  const env = { PATH: process.env['PATH'], ...COMPILED }
  const done = promisify(execFile)(process.execPath, [...args], { cwd: ROOT, env, timeout: 60_000 })
  return done.then(
    (output) => ({ code: 0, ...output }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  )
}

describe.each(COMMANDS)('npm run %s', (command) => {
  test('answers --help by its text, before any package is asked for', async () => {
    const { code, stdout } = await run([
      'infra/dev/bootstrap.mjs',
      path.relative(ROOT, entryOf(command)),
      '--help',
    ])
    expect(code).toBe(0)
    expect(stdout).toBe(usageOf(entryOf(command)))
  })

  test('has a text that names every option that it reads, on several lines of at most 100 columns', () => {
    const text = usageOf(entryOf(command))
    const lines = text.split('\n')
    expect(lines.length).toBeGreaterThan(5)
    expect(lines.filter((line) => line.length > 100)).toEqual([])
    const parser = command === 'start' ? path.join(ROOT, 'infra/demo/options.ts') : entryOf(command)
    const source = readFileSync(parser, 'utf8')
    const read = [...source.matchAll(/'?([a-z-]+)'?: \{ type: '(?:string|boolean)'/g)]
    const options = read.map(([, name = '']) => name)
    expect(options.length > 0, 'options found').toBe(command !== 'bench')
    // Between the processes of one run, for nobody else.
    for (const option of options.filter((name) => name !== 'lane')) expect(text).toContain(`--${option}`)
  })
})

test('a mistake ends with 2, its name first, then the usage, and without a stack of Node', async () => {
  const { code, stderr } = await run(['infra/dev/start.ts', '--until-sunset'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^Unknown option '--until-sunset'/)
  expect(stderr).toContain(usageOf(entryOf('start')))
  expect(stderr).not.toMatch(/^\s+at /m)
})

test('`npx calstream` in a fresh clone says at once that no stack runs, and installs nothing for it', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-clone-'))
  try {
    mkdirSync(path.join(folder, 'infra/dev'), { recursive: true })
    for (const name of ['calstream.mjs', 'bootstrap.mjs'])
      copyFileSync(path.join(ROOT, 'infra/dev', name), path.join(folder, 'infra/dev', name))
    const command = path.join(folder, 'infra/dev/calstream.mjs')
    const { code, stderr } = await run([command, 'status'])
    expect([code, stderr]).toEqual([1, 'No stack runs in this folder. Start it: npm start.\n'])
    // With a stack it goes on to the packages, of which this folder has not even the list.
    mkdirSync(path.join(folder, '.calstream'))
    writeFileSync(path.join(folder, '.calstream/stack.json'), '{}')
    expect((await run([command, 'status'])).stderr).toContain('package-lock.json')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.each(['0', '101', '1.5', '-1', 'x', ''])('%j is no whole number from 1 to 100', (text) => {
  expect(() => wholeNumber('n', text, { max: 100 })).toThrow('--n must be a whole number from 1 to 100')
})
