// The operators' port: alive, ready and measured, within bounds whatever the dependencies do.
import { describe, expect, test } from 'vitest'
import { type Check, readinessOf, startAdmin } from '#shared/process/admin.ts'
import { createLogger } from '#shared/process/log.ts'
import { VERSION } from '#shared/process/version.ts'

const logger = createLogger({ service: 'test', level: 'silent' })
const telemetry = { scrape: async () => 'calendar_sync_runs_total 1\n' }
const open = (checks: Record<string, Check>) =>
  startAdmin({ port: 0, readiness: readinessOf(checks), telemetry, logger })
const get = (port: number, path: string, method = 'GET') =>
  fetch(`http://127.0.0.1:${port}${path}`, { method })

describe('the admin port', () => {
  test('answers ready while every check finds nothing wrong', async () => {
    await using admin = await open({ postgres: async () => null, kafka: async () => null })
    const answer = await get(admin.port, '/readyz')
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({
      status: 'ready',
      version: VERSION,
      dependencies: { postgres: 'ok', kafka: 'ok' },
    })
  })

  test('answers 503 and says what is wrong with each dependency, thrown or told', async () => {
    await using admin = await open({
      postgres: async () => 'no answer',
      kafka: () => Promise.reject(new Error('refused')),
      unleash: async () => null,
    })
    const answer = await get(admin.port, '/readyz?verbose')
    expect(answer.status).toBe(503)
    expect(await answer.json()).toMatchObject({
      dependencies: { postgres: 'no answer', kafka: 'refused', unleash: 'ok' },
    })
    expect((await get(admin.port, '/livez')).status).toBe(200)
  })

  test('does not wait for a check that hangs, nor starts it again while it hangs', async () => {
    let runs = 0
    const hang = Promise.withResolvers<null>()
    await using admin = await open({
      postgres: () => {
        runs += 1
        return hang.promise
      },
    })
    const answers = await Promise.all([get(admin.port, '/readyz'), get(admin.port, '/readyz')])
    expect(answers.map(({ status }) => status)).toEqual([503, 503])
    expect(await answers[0]?.json()).toMatchObject({ dependencies: { postgres: 'no answer within 2 s' } })
    expect(runs).toBe(1)
    hang.resolve(null)
    await expect.poll(async () => (await get(admin.port, '/readyz')).status).toBe(200)
  })

  test('serves the metrics as Prometheus reads them', async () => {
    await using admin = await open({})
    const answer = await get(admin.port, '/metrics')
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    expect(await answer.text()).toBe('calendar_sync_runs_total 1\n')
  })

  test('answers 404 to anything else and 500 when metrics cannot be collected', async () => {
    await using admin = await open({})
    expect((await get(admin.port, '/')).status).toBe(404)
    expect((await get(admin.port, '/readyz', 'POST')).status).toBe(404)
    await using broken = await startAdmin({
      port: 0,
      readiness: readinessOf({}),
      telemetry: { scrape: () => Promise.reject(new Error('no')) },
      logger,
    })
    expect((await get(broken.port, '/metrics')).status).toBe(500)
  })

  test('says which port is taken and how to choose another', async () => {
    await using admin = await open({})
    await expect(
      startAdmin({ port: admin.port, readiness: readinessOf({}), telemetry, logger }),
    ).rejects.toThrow(
      /admin port 127\.0\.0\.1:\d+ cannot be opened: it is taken\..* set ADMIN_PORT to a free port/,
    )
  })

  test('stops with a client still connected', async () => {
    const admin = await open({})
    await get(admin.port, '/livez')
    await admin[Symbol.asyncDispose]()
    await expect(get(admin.port, '/livez')).rejects.toThrow()
  })
})
