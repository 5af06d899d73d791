// The command as a person mistypes it:
// one line says what happened and what to do, and never a stack of Node.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { processIdentity } from '#shared/process/identity.ts'
import { allow, switchGate } from '../../../services/cli/allow.ts'
import { installation } from '../../../services/cli/config.ts'
import { showConnection, showConnections } from '../../../services/cli/connections.ts'
import { createOutput } from '../../../services/cli/output.ts'
import { tail } from '../../../services/cli/tail.ts'
import { COMPILED } from '../../support/compiled.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const COMMAND = path.join(ROOT, 'services/cli/main.ts')
/** A port that nobody may listen at. */
const ELSEWHERE = { POSTGRES_URL: 'postgres://nobody@127.0.0.1:1/none' }
const ALIVE = { pid: process.pid, identity: processIdentity(process.pid) }
const STACK = JSON.stringify({ env: { KAFKA_BROKERS: 'here:1', API_JWT_SECRET: 'of the stack' } })

const root = mkdtempSync(path.join(tmpdir(), 'calstream-cli-'))
const folder = path.join(root, '.calstream')

beforeEach(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = { cwd: root, env: { PATH: process.env['PATH'], ...COMPILED, ...env } }
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [COMMAND, ...args], options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

function write(stack: string | null, holder: { pid: number; identity: string | null } | null): void {
  if (stack !== null) writeFileSync(path.join(folder, 'stack.json'), stack)
  if (holder !== null) writeFileSync(path.join(folder, 'lock.json'), JSON.stringify(holder))
}

describe('the installation', () => {
  test.each([
    ['nothing', null, null, /^No stack runs in this folder\. Start it: npm start\. \(Or set POSTGRES_URL/],
    ['a stack that starts', null, ALIVE, /is starting or stopping\. Wait for "Ready"/],
    ['a run that is gone', STACK, { pid: 1, identity: 'another' }, /has ended without a word.*npm start/],
    ['a file that is no JSON', '{"env":', ALIVE, /stack\.json cannot be read.*npm start/],
    ['a file that holds something else', '[]', ALIVE, /stack\.json cannot be read/],
  ])('is told from %s', async (_what, stack, holder, words) => {
    write(stack, holder)
    await expect(installation({}, folder)).rejects.toThrow(words)
  })

  test('is the stack that runs here, with what is set before it (control)', async () => {
    write(STACK, ALIVE)
    const env = await installation({ API_JWT_SECRET: 'of mine' }, folder)
    expect(env).toEqual({ KAFKA_BROKERS: 'here:1', API_JWT_SECRET: 'of mine' })
  })

  test.each(['POSTGRES_URL', 'POSTGRES_URL_SCHEDULER', 'KAFKA_BROKERS', 'UNLEASH_URL_FILE'])(
    'is the one that %s names, and nothing of the stack beside it',
    async (name) => {
      write(STACK, ALIVE)
      expect(await installation({ [name]: 'there' }, folder)).toEqual({ [name]: 'there' })
    },
  )

  test('that is not there ends the command with one line and without a red row', async () => {
    const { code, stdout, stderr } = await run(['doctor'])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^No stack runs in this folder[^\n]*\n$/)
  })

  // In a container of one service: it has the settings of that service alone.
  test.each([
    ['retry has no database', { KAFKA_BROKERS: '127.0.0.1:1' }, ['kafka', 'topics', 'lag']],
    ['relay has no flag server', ELSEWHERE, ['postgres', 'canaries']],
  ])('is looked at by doctor as far as its settings go: %s', async (_what, env, expected) => {
    const { code, stdout } = await run(['--json', 'doctor'], env)
    const rows = JSON.parse(stdout) as { ok: boolean; what: string; found: string }[]
    expect(rows.filter(({ ok }) => !ok).map(({ what }) => what)).toEqual(expected)
    expect(code).toBe(1)
    const skipped = rows.filter(({ found }) => /^not looked at: [A-Z_]+ is not set here$/.test(found))
    expect(skipped.map(({ what }) => what)).toEqual(expect.arrayContaining(['flags', 'google', 'schemas']))
  })
})

describe('a mistake', () => {
  const output = createOutput(true)
  const list = { limit: '10' }
  const watch = { topic: 'changed', from: 'latest' }
  const doors = { UNLEASH_URL: 'http://127.0.0.1:1/api', UNLEASH_ADMIN_TOKEN: '*:*.x' }
  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'a state',
      () => showConnections({ ...list, state: ['ill'] }, {}, output),
      /--state must be one of needs/,
    ],
    ['a limit', () => showConnections({ limit: '0' }, {}, output), /--limit must be a number/],
    ['a vendor', () => showConnections({ ...list, vendor: 'x' }, {}, output), /google or microsoft/],
    ['a provider', () => showConnections({ ...list, provider: 'x' }, {}, output), /must be a uuid/],
    ['a connection', () => showConnection('x', {}, output), /named by its uuid/],
    ['a topic', () => tail({ ...watch, topic: 'x' }, {}, output), /changed, state, connections/],
    ['a place', () => tail({ ...watch, from: 'x' }, {}, output), /latest or beginning/],
    ['nobody', () => allow({}, doors, output), /Say who/],
    ['a provider to let in', () => allow({ provider: ['x'] }, doors, output), /must be a uuid/],
    ['a gate', () => switchGate('open', 'x', doors, output), /There is no gate x/],
    ['a flag server', () => allow({ everybody: true }, doors, output), /The flag server cannot be asked/],
  ])('of %s is told in words', async (_what, mistaken, words) => {
    await expect(mistaken()).rejects.toMatchObject({
      name: 'UserError',
      message: expect.stringMatching(words) as string,
    })
  })

  test('of a command is told with the one that was meant', async () => {
    const { code, stdout, stderr } = await run(['statu'])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/unknown command 'statu'[\s\S]*Did you mean status[\s\S]*--help/)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  test('is none of who asks for the version, also after a command', async () => {
    const file = readFileSync(path.join(ROOT, 'package.json'), 'utf8')
    const { version } = JSON.parse(file) as { version: string }
    expect(await run(['status', '--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })
})

test('a container has no local stack to reset, and is told where there is one', async () => {
  const { code, stderr } = await run(['reset'])
  expect(code).toBe(1)
  expect(stderr).toBe('There is no local stack here. In a clone: npx calstream reset.\n')
})

test.each([
  ['google', 'ya29.a0AfH6SM'],
  ['microsoft', 'eyJ0eXAiOiJKV1Qi.x.y'],
])('an access token of %s is told from a refresh token', async (vendor, token) => {
  const args = [
    'connections',
    'add',
    '--vendor',
    vendor,
    '--provider',
    'aaaaaaaa-0000-7000-8000-000000000001',
  ]
  const { code, stderr } = await run(args, { ...ELSEWHERE, CALSTREAM_REFRESH_TOKEN: token })
  expect(code).toBe(1)
  expect(stderr).toMatch(/^This is an access token.* Give the refresh token/)
  expect(stderr).not.toContain(token)
})

test('what cannot be reached is told by status, and nothing is called healthy', async () => {
  const { code, stdout } = await run(['--json', 'status'], ELSEWHERE)
  expect(code).toBe(0)
  const told = JSON.parse(stdout) as { healthy: boolean; findings: { what: string }[] }
  expect(told.healthy).toBe(false)
  const whats = told.findings.map(({ what }) => what)
  expect(whats).toEqual(['postgres', 'kafka', 'gates', 'ingress', 'sync', 'retry', 'relay', 'scheduler'])
})
