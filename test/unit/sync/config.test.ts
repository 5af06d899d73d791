import { describe, expect, test } from 'vitest'
import { ConfigError } from '#shared/process/settings.ts'
import { loadConfig } from '../../../services/sync/config.ts'

const ENV = {
  KAFKA_BROKERS: 'localhost:9092',
  SCHEMA_REGISTRY_URL: 'http://localhost:8081',
  POSTGRES_URL: 'postgres://calstream_sync:secret@localhost/calstream',
  UNLEASH_URL: 'http://localhost:4242/api',
  UNLEASH_TOKEN: 'default:development.secret',
  CREDENTIALS_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
  GOOGLE_CLIENT_ID: 'id',
  GOOGLE_CLIENT_SECRET: 'secret secret',
  ADMIN_PORT: '0',
}

describe("the sync's settings", () => {
  test('have slots that suit two cores unless they are set', () => {
    expect(loadConfig(ENV)).toMatchObject({ SYNC_SLOTS: 32, SYNC_VENDOR_SLOTS: 24, SYNC_BACKFILL_SLOTS: 8 })
    expect(loadConfig({ ...ENV, SYNC_SLOTS: '4' })).toMatchObject({ SYNC_SLOTS: 4 })
  })

  test('tell every problem at once, by variable and without values', () => {
    const { POSTGRES_URL: _missing, ...broken } = {
      ...ENV,
      SYNC_SLOTS: '0',
      KAFKA_BROKERS: 'nowhere',
    }
    const problems = problemsOf(broken)
    for (const name of ['POSTGRES_URL', 'SYNC_SLOTS', 'KAFKA_BROKERS']) expect(problems).toContain(name)
    expect(problems).not.toContain('nowhere')
    expect(problems).not.toContain('UNLEASH_URL')
  })
})

function problemsOf(env: NodeJS.ProcessEnv): string {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}
