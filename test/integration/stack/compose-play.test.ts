// README's lines for Docker with play vendors, typed as they stand. Where Docker would run an
// image, the same program runs here with the settings and secrets that its container would have;
// only addresses are those of the local stack. What images, networks and `up` do is not shown.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createBrowser, linkOn } from '../../../infra/demo/browser.ts'
import { childEnv } from '../../../infra/stack/infrastructure.ts'
import { REPOSITORY } from '../../../infra/stack/services.ts'
import { loadConfig as loadIngress } from '../../../services/ingress/config.ts'
import { startIngress } from '../../../services/ingress/service.ts'
import { loadConfig as loadRelay } from '../../../services/relay/config.ts'
import { startRelay } from '../../../services/relay/service.ts'
import { loadConfig as loadSync } from '../../../services/sync/config.ts'
import { startSync } from '../../../services/sync/service.ts'
import { compose, dotenvOf, environmentOf } from '../../support/compose-file.ts'
import { startOwnUnleash } from '../../support/own-components.ts'
import { readmeBlocks } from '../../support/readme.ts'
import { startTestSimulator } from '../../support/simulator.ts'
import { openPlace } from '../../support/world.ts'

const STEP_WITHIN_MS = 100_000
const signal = () => AbortSignal.timeout(STEP_WITHIN_MS)
const README_PORT = 'http://127.0.0.1:8080'

const owned = new AsyncDisposableStack()
let folder: string
/** Settings that only the real network of Compose would have right. */
let addresses: Readonly<Record<string, string>>
let ingressUrl: string

beforeAll(async () => {
  folder = mkdtempSync(path.join(inject('stack').folder, 'own-compose-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  writeCommand('npx', `shift; exec ${JSON.stringify(process.execPath)} ${cli} "$@"`)
})
afterAll(() => owned.disposeAsync())

test('make the settings, let everybody in, connect an account and show what is published', async () => {
  const [play = ''] = readmeBlocks('Run it with Docker')
  const [init = '', up = '', ...others] = play.split('\n')
  const tailLine = others.pop() ?? ''
  expect([init, up, tailLine]).toEqual([
    expect.stringMatching(/^npx calstream init --play /),
    expect.stringMatching(/^docker compose up --build --wait /),
    expect.stringMatching(/^docker compose run --rm cli tail --from beginning .*Ctrl-C/),
  ])

  expect(await type(init)).toContain('Next: docker compose up --build --wait')
  await startWhatUpStarts()
  const lines = others.join('\n')
  expect(lines).toContain(README_PORT)
  // The ingress sees within 2 s who was let in; a person who is faster types the lines again.
  let answer: { readonly url?: string } = {}
  const typed = async () => {
    const said = await type(lines.replaceAll(README_PORT, ingressUrl))
    answer = JSON.parse(said.trim().split('\n').at(-1) ?? '') as typeof answer
    return answer.url
  }
  await expect.poll(typed, { timeout: STEP_WITHIN_MS }).toBeTypeOf('string')
  await consent(answer.url ?? '')

  // `tail` runs until Ctrl-C, which reaches the whole group, as from a terminal.
  const tail = spawn('bash', ['-c', tailLine], { env: shell(), cwd: folder, detached: true })
  const ended = once(tail, 'exit')
  const [first] = (await once(createInterface({ input: tail.stdout }), 'line')) as [string]
  expect(first).toMatch(/\bmicrosoft\b|\bupserted\b/)
  process.kill(-(tail.pid ?? expect.unreachable('it runs')), 'SIGINT')
  expect(await ended).toEqual([0, null])
}, 300_000)

/** What the containers would be, on the stack of the tests; the secrets are those of `init`. */
async function startWhatUpStarts(): Promise<void> {
  const secret = (name: string) => readFileSync(path.join(folder, '.secrets', name), 'utf8')
  const unleash = owned.use(await startOwnUnleash())
  const simulator = owned.use(
    await startTestSimulator({
      microsoftClientId: 'calstream-play',
      microsoftClientSecret: secret('microsoft_client_secret'),
      clientId: 'calstream-play',
      clientSecret: secret('google_client_secret'),
    }),
  )
  const vendors = { google: simulator.googleUrl, microsoft: simulator.microsoftUrl }
  const { env } = await openPlace({ label: 'compose_play' }, vendors, owned)
  const own = [
    'CREDENTIALS_KEYS',
    'CHANNEL_TOKEN_KEYS',
    'API_JWT_SECRET',
    'GOOGLE_CLIENT_',
    'MICROSOFT_CLIENT_',
  ]
  addresses = Object.fromEntries(
    Object.entries({
      ...env,
      MICROSOFT_AUTH_URL: simulator.microsoftUrl,
      UNLEASH_URL: unleash.url,
      UNLEASH_TOKEN: unleash.tokens.backend,
      UNLEASH_ADMIN_TOKEN: unleash.tokens.admin,
      ADMIN_PORT: '0',
      LOG_LEVEL: 'error',
    }).filter(([name]) => !own.some((begin) => name.startsWith(begin))),
  )
  ingressUrl = env['PUBLIC_URL'] ?? ''
  owned.use(await startIngress(loadIngress(containerOf('ingress')), signal()))
  owned.use(await startSync(loadSync(containerOf('sync')), signal()))
  owned.use(await startRelay(loadRelay(containerOf('relay')), signal()))
  const settings = Object.entries(containerOf('cli')).map(
    ([name, value]) => `export ${name}=${quoted(value)}`,
  )
  mkdirSync(path.join(folder, 'bin'), { recursive: true })
  writeCommand(
    'docker',
    [
      ...settings,
      `[ "$1 $2 $3" = "compose run --rm" ] || exit 64`,
      'shift 3',
      '[ "$1" = -T ] && shift',
      '[ "$1" = cli ] && shift || exit 64',
      `exec ${quoted(process.execPath)} ${cli} "$@"`,
    ].join('\n'),
  )
}

/** What a container has, by docker-compose.yml; addresses of the stack take the place of its. */
function containerOf(service: string): Readonly<Record<string, string>> {
  const dotenv = dotenvOf(readFileSync(path.join(folder, '.env'), 'utf8'))
  const given = environmentOf(service, dotenv, path.join(folder, '.secrets'))
  const kept = Object.entries(given).filter(
    ([name]) => name !== 'SCHEMA_IDS_PATH' && !(name.replace(/_FILE$/, '') in addresses),
  )
  const asked = compose.services[service]?.environment ?? {}
  const read = Object.entries(addresses).filter(([name]) => name in asked || `${name}_FILE` in asked)
  const role = addresses[`POSTGRES_URL_${service.toUpperCase()}`]
  return {
    ...Object.fromEntries(kept),
    ...Object.fromEntries(read),
    ...(role === undefined ? {} : { POSTGRES_URL: role }),
  }
}

async function consent(url: string): Promise<void> {
  const browser = createBrowser(signal())
  const asked = await browser.open(url)
  const people = (await browser.press(asked, 'Continue to')) ?? asked
  const landed = await browser.open(linkOn(people, 'a new account') ?? expect.unreachable(people.text))
  expect([landed.status, landed.text]).toEqual([200, expect.stringContaining('is connected')])
}

const cli = quoted(path.join(REPOSITORY, 'services/cli/main.ts'))

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** A program that stands before that of the machine. */
function writeCommand(name: string, body: string): void {
  mkdirSync(path.join(folder, 'bin'), { recursive: true })
  writeFileSync(path.join(folder, 'bin', name), `#!/bin/bash\n${body}\n`, { mode: 0o700 })
}

function shell(): NodeJS.ProcessEnv {
  return { ...childEnv(process.env), PATH: `${path.join(folder, 'bin')}:${process.env['PATH'] ?? ''}` }
}

/** Types lines into a shell. @returns what they wrote. */
async function type(lines: string): Promise<string> {
  const bash = spawn('bash', ['-euo', 'pipefail', '-c', lines], { env: shell(), cwd: folder })
  let text = ''
  for (const stream of [bash.stdout, bash.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (text += part))
  const [code] = (await once(bash, 'close')) as [number]
  expect(code, text).toBe(0)
  return text
}
