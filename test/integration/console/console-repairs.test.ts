// Repairs as operators ask for them in the console. No scheduler runs: what it would do is written
// by the test.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ConsoleBrowser, openConsoleBrowser } from '../../support/console-browser.ts'

const PATIENCE_MS = 30_000
const fields = (named: Readonly<Record<string, string>>) => new URLSearchParams(named)

let at: ConsoleBrowser

beforeAll(async () => {
  at = await openConsoleBrowser('console-repairs', 500)
}, 120_000)
afterAll(() => at[Symbol.asyncDispose]())

test('a repair is counted before it is begun, is known by who asked, and is ended by a button', async () => {
  const context = await at.context()
  const page = await context.newPage()
  await at.signIn(page)
  await page.goto('/connections?state=retrying')
  await page.getByRole('link', { name: 'Repair these' }).click()
  await page.locator('select[name=kind]').selectOption('sync_now')
  await page.getByRole('button', { name: 'Count them' }).click()
  const [row] = await at.world.look<{ wanted: number }>(
    `select count(*)::int as wanted from external_calendar_connections where status = 'active' and error_count > 0`,
  )
  await page.getByText(`This would touch ${row?.wanted} connections`).waitFor()
  expect(await at.world.look(`select id from repairs`)).toEqual([])
  await page.getByRole('button', { name: 'Begin' }).click()
  await page.waitForURL('**/repairs')
  const asked = () => at.world.look(`select kind, filter, asked_by, total, state from repairs`)
  const begun = { kind: 'sync_now', filter: { state: 'retrying' }, asked_by: 'ada', total: row?.wanted }
  expect(await asked()).toEqual([{ ...begun, state: 'running' }])
  // The scheduler gets ahead, and the page with it.
  await at.world.look(`update repairs set done = 7`)
  await page.getByText(`7 of ${row?.wanted}`).first().waitFor({ timeout: PATIENCE_MS })
  await page.getByRole('button', { name: 'Abort' }).click()
  await page.getByText('aborted').waitFor({ timeout: PATIENCE_MS })
  expect(await asked()).toEqual([{ ...begun, state: 'aborted' }])
  expect(context.errors).toEqual([])
  await context.close()
})

test.each([
  ['names none', { kind: 'pause' }],
  ['means all and one', { kind: 'pause', all: 'yes', vendor: 'google' }],
  ['is of no kind', { kind: 'delete', all: 'yes' }],
  ['is too fast', { kind: 'pause', all: 'yes', rate: '5000' }],
  ['begins at no time', { kind: 'pause', vendor: 'google', since: 'yesterday' }],
  ['meets nothing', { kind: 'resume', connection: '00000000-0000-4000-8000-000000000000' }],
])('a repair that %s is refused, with the reason', async (_what, named) => {
  const refused = await at.ask('/repairs', { method: 'POST', body: fields(named) })
  expect([refused.status, await refused.json()]).toEqual([
    400,
    expect.objectContaining({ title: 'This repair was not begun', detail: expect.stringMatching(/\S{3}/) }),
  ])
})

test('a repair is begun and ended by an operator, and not by a viewer', async () => {
  const body = fields({ kind: 'pause', connection: await at.someId() })
  expect((await at.ask('/repairs', { method: 'POST', scope: 'operator.read', body })).status).toBe(403)
  const begun = await at.ask('/repairs', { method: 'POST', body })
  const repair = (await begun.json()) as { id: string; by: string; total: number }
  expect([begun.status, repair.by, repair.total]).toEqual([200, 'ada', 1])
  const abort = `/repairs/${repair.id}/abort`
  expect((await at.ask(abort, { method: 'POST', scope: 'operator.read' })).status).toBe(403)
  const ended = await at.ask(abort, { method: 'POST' })
  expect(await ended.json()).toMatchObject({ state: 'aborted', ended_by: 'ada' })
  expect((await at.ask('/repairs/nonsense/abort', { method: 'POST' })).status).toBe(404)
})
