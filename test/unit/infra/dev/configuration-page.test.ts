// docs/configuration.md and .env.example against what the services read.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { SETTING_NAMES } from '#shared/process/setting-names.gen.ts'
import {
  composeNames,
  configurationPage,
  exampleNames,
  namesFile,
  settings,
} from '../../../../infra/dev/configuration-page.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')
const all = settings().flatMap((group) => group.settings)
const byName = new Map(all.map((setting) => [setting.name, setting]))

test.each([
  ['docs/configuration.md', configurationPage],
  ['services/shared/process/setting-names.gen.ts', namesFile],
])('%s is current: `npm run gen` would change nothing', (file, text) => {
  expect(read(file)).toBe(text())
})

describe('the page', () => {
  test('has each setting once, and says of each what it is and who reads it', () => {
    expect(all.length).toBeGreaterThan(50)
    expect(byName.size).toBe(all.length)
    expect(all.filter(({ what }) => what === '').map(({ name }) => name)).toEqual([])
    expect(all.filter(({ readers }) => readers.length === 0).map(({ name }) => name)).toEqual([])
  })

  test('has what any reader of the environment names', () => {
    const readers = readdirSync(path.join(ROOT, 'services'), { recursive: true, encoding: 'utf8' }).filter(
      (file) => /(?:^|\/)(?:config|settings)\.ts$/.test(file),
    )
    const named = readers.flatMap((file) =>
      [...read(`services/${file}`).matchAll(/^\s+([A-Z][A-Z0-9]*_[A-Z0-9_]+):/gm)].map(
        ([, name = '']) => name,
      ),
    )
    expect(readers.length).toBeGreaterThan(9)
    expect(named.length).toBeGreaterThan(40)
    // `envOf` gives each service of `calstream all` a free port.
    expect(named.filter((name) => !byName.has(name))).toEqual([])
  })

  test.each([
    ['KAFKA_BROKERS', { isNeeded: true, isSecret: false, standard: null }],
    ['INGRESS_PORT', { isNeeded: false, isSecret: false, standard: '8080', readers: ['ingress'] }],
    ['SYNC_SLOTS', { isNeeded: false, standard: '32', readers: ['sync'] }],
    ['OAUTH_RETURN_ORIGINS', { isNeeded: false, standard: '' }],
    ['POSTGRES_URL', { isNeeded: true, isSecret: true }],
    ['API_JWT_SECRET', { isNeeded: false, isSecret: true, readers: ['ingress', 'console', 'command'] }],
    ['CREDENTIALS_KEYS', { isSecret: true, readers: ['ingress', 'sync', 'scheduler', 'command'] }],
    ['GOOGLE_CLIENT_SECRET', { isNeeded: false, isSecret: true }],
  ])('says of %s what its schema says', (name, facts) => {
    expect(byName.get(name)).toMatchObject(facts)
  })

  test('calls every password, secret, token and key a secret', () => {
    const sounds = all.filter(({ name }) => /(?:PASSWORD|SECRET|TOKEN|_KEYS?)$/.test(name))
    expect(sounds.length).toBeGreaterThan(6)
    expect(sounds.filter(({ isSecret }) => !isSecret).map(({ name }) => name)).toEqual([])
  })
})

describe('.env.example', () => {
  test('names every setting that a service or the command reads', () => {
    const example = new Set(exampleNames())
    // Of tests and scripts, not of an installation's file.
    const given = new Set(['KAFKA_PARTITIONS', 'CALSTREAM_ROLE_PASSWORDS_FILE', 'CALSTREAM_REFRESH_TOKEN'])
    const missing = all.map(({ name }) => name).filter((name) => !example.has(name) && !given.has(name))
    expect(missing).toEqual([])
  })

  test('names nothing that no part reads', () => {
    const compose = read('docker-compose.yml')
    const unread = composeNames().filter((name) => !new RegExp(`\\b${name}\\b`).test(compose))
    expect(unread).toEqual([])
  })

  test('names each setting once', () => {
    const names = exampleNames()
    expect(names).toEqual([...new Set(names)])
  })

  test('holds no secret', () => {
    const filled = [...read('.env.example').matchAll(/^#?([A-Z][A-Z0-9_]*)=(.+)$/gm)].filter(
      ([, name = '']) => /(?:PASSWORD|SECRET|TOKEN|KEYS?)$/.test(name) || byName.get(name)?.isSecret === true,
    )
    // An address of Postgres without a password, and commented out.
    expect(filled.map(([line]) => line)).toEqual([
      '#POSTGRES_URL=postgres://calstream_sync@localhost:5432/calstream',
    ])
  })
})

test('the known names are those of the page, and those of docker-compose.yml', () => {
  expect(SETTING_NAMES).toEqual(expect.arrayContaining([...all.map(({ name }) => name), ...composeNames()]))
})
