// A mistyped setting is told, and nothing that belongs to another program is.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'
import { SETTING_NAMES } from '#shared/process/setting-names.gen.ts'
import { unknownSettings } from '#shared/process/unknown-settings.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')

test.each([
  ['KAFKA_BROKER', 'KAFKA_BROKERS'],
  ['KAFKA_BOOTSTRAP_SERVERS', 'KAFKA_'],
  ['GOOGLE_CLIENTID', 'GOOGLE_CLIENT_ID'],
  ['GOOGLE_OAUTH_CLIENT_SECRET', 'GOOGLE_CLIENT_SECRET'],
  ['MICROSOFT_TENANT_ID', 'MICROSOFT_TENANT'],
  ['CALENDAR_SYNC_ENABLE', 'CALENDAR_SYNC_ENABLED'],
  ['SYNC_SLOT', 'SYNC_SLOTS'],
  ['POSTGRES_URI', 'POSTGRES_URL'],
  ['POSTGRES_URL_SYNCH', 'POSTGRES_URL'],
  ['UNLEASH_TOKENS_FILE', 'UNLEASH_TOKEN'],
  ['CREDENTIAL_KEYS', 'CREDENTIALS_KEYS'],
  ['CREDENTIALS_KEY', 'CREDENTIALS_KEYS'],
  ['PUBLIC_URI', 'PUBLIC_URL'],
  ['GOOLGE_CLIENT_ID', 'GOOGLE_CLIENT_ID'],
  ['kafka_brokers', 'KAFKA_BROKERS'],
  ['LOGLEVEL', 'LOG_LEVEL'],
])('%s is told with %s', (name, nearest) => {
  const told = unknownSettings({ [name]: 'hunter2-hunter2' })
  expect(told).toHaveLength(1)
  expect(told[0]).toMatch(new RegExp(`^${name} is set and is no setting .+ nearest one is ${nearest}`))
  expect(told[0]).not.toContain('hunter2')
})

test('no setting is told, in none of its forms', () => {
  const forms = SETTING_NAMES.flatMap((name) => [name, `${name}_FILE`, `${name}_SYNC`])
  expect(forms.length).toBeGreaterThan(150)
  expect(unknownSettings(Object.fromEntries(forms.map((name) => [name, 'x'])))).toEqual([])
})

test.each([
  ['GOOGLE_APPLICATION_CREDENTIALS', '/etc/key.json'],
  ['GOOGLE_CLOUD_PROJECT', 'x'],
  ['KAFKA_HEAP_OPTS', '-Xmx1g'],
  ['https_proxy', 'http://proxy:3128'],
  ['PATH', '/bin'],
  ['HOME', '/root'],
  ['KAFKA_PORT', 'tcp://10.0.0.1:9092'],
  ['KAFKA_SERVICE_HOST', '10.0.0.1'],
  ['KAFKA_SERVICE_PORT_CLIENT', '9092'],
  ['UNLEASH_PORT_4242_TCP_ADDR', '10.0.0.1'],
  ['POSTGRES_DB', ''],
  ['SIMULATOR_GOOGLE_PORT', '4101'],
])('%s=%s belongs to another program, or is not set', (name, value) => {
  expect(unknownSettings({ [name]: value })).toEqual([])
})

test('a process warns of it at its start, once', async () => {
  const script = `
    import { run } from '#shared/process/run.ts'
    await run('test', async () => { throw new Error('enough') })`
  const stdout = await new Promise<string>((resolve) => {
    const args = ['--input-type=module-typescript', '--eval', script]
    const env = { PATH: process.env['PATH'], KAFKA_BROKER: 'one:9092', KAFKA_BROKERS: 'one:9092' }
    execFile(process.execPath, args, { cwd: ROOT, env }, (_error, stdout) => resolve(stdout))
  })
  const lines = stdout.trim().split('\n')
  const warnings = lines.map((line) => JSON.parse(line) as { level: string; msg: string })
  expect(warnings.filter(({ level }) => level === 'warn').map(({ msg }) => msg)).toEqual([
    'KAFKA_BROKER is set and is no setting of calstream, so it has no effect. The nearest one is KAFKA_BROKERS.',
  ])
})
