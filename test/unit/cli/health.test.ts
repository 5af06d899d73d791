// The health check of a container: it says ready only where /readyz does, and always ends.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Check, readinessOf, startAdmin } from '#shared/process/admin.ts'
import { createLogger } from '#shared/process/log.ts'
import { healthOf } from '../../../services/cli/health.ts'

const CLI = path.resolve(import.meta.dirname, '../../../services/cli')
const logger = createLogger({ service: 'test', level: 'silent' })
const telemetry = { scrape: async () => '' }

const admin = (checks: Readonly<Record<string, Check>>) =>
  startAdmin({ port: 0, readiness: readinessOf(checks), telemetry, logger })
const well: Readonly<Record<string, Check>> = { kafka: async () => null }
const ill: Readonly<Record<string, Check>> = { ...well, postgres: async () => 'Postgres cannot be reached' }

/** The program as an engine runs it: its code, and what it printed. */
function run(args: readonly string[], env: Readonly<Record<string, string>>) {
  return new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [...args], { env: { ...env } }, (_error, _stdout, stderr) =>
      resolve({ code: child.exitCode, stderr }),
    )
  })
}

describe('the health of a container', () => {
  test('is that of /readyz', async () => {
    await using one = await admin(well)
    await using other = await admin(ill)
    expect(await healthOf({ ADMIN_PORT: String(one.port), ADMIN_HOST: '0.0.0.0' })).toBeNull()
    const found = await healthOf({ ADMIN_PORT: String(other.port) })
    expect(found).toMatch(/^not ready: .*Postgres cannot be reached/)
  })

  test('of all services in one process is that of each that has a port', async () => {
    await using one = await admin(well)
    await using other = await admin(ill)
    const both = { ADMIN_PORT_INGRESS: String(one.port), ADMIN_PORT_SYNC: String(other.port) }
    expect(await healthOf({ ...both, ADMIN_PORT: '1' })).toMatch(/^not ready/)
    expect(await healthOf({ ADMIN_PORT_INGRESS: String(one.port), ADMIN_PORT: '1' })).toBeNull()
  })

  test.each([undefined, '', '0', 'http', '123456'])('needs the number of a port: %s', async (port) => {
    expect(await healthOf({ ADMIN_PORT: port })).toMatch(/^ADMIN_PORT is not set to the number of a port/)
  })

  test('is told of a port at which no one answers, also of one that takes the question', async () => {
    const silent = createServer(() => undefined)
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    expect(await healthOf({ ADMIN_PORT: String(port) })).toBe('no answer within 4 s')
    silent.close()
    expect(await healthOf({ ADMIN_PORT: '1' })).toBe('ECONNREFUSED')
  })

  test.each([
    ['the file alone', [path.join(CLI, 'health-main.ts')]],
    ['the command', [path.join(CLI, 'main.ts'), 'health']],
  ])('is the exit code of %s', async (_what, args) => {
    await using one = await admin(well)
    await using other = await admin(ill)
    expect(await run(args, { ADMIN_PORT: String(one.port) })).toEqual({ code: 0, stderr: '' })
    const red = await run(args, { ADMIN_PORT: String(other.port) })
    expect(red.code).toBe(1)
    expect(red.stderr).toContain('Postgres cannot be reached')
  })
})
