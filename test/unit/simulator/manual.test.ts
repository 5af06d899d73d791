// The manual of the play vendors tells of every route of the admin API and of no other,
// with bodies that the routes take.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ROUTES } from '../../../infra/simulator/control/admin.ts'
import { BODY_OF } from '../../../infra/simulator/control/bodies.ts'
import { curlOf, fieldsOf, MANUAL, manualPage } from '../../../infra/simulator/control/manual.ts'

const entries = MANUAL.flatMap((group) => group.entries)

test('every route stands in the manual once, and nothing else does', () => {
  const routes = ROUTES.map(({ method, path: route }) => `${method} ${route}`)
  expect(entries.map(({ route }) => route).toSorted()).toEqual(routes.toSorted())
})

describe.each(entries)('$route', (entry) => {
  const schema = BODY_OF[entry.route]

  test('shows a body exactly where the route takes one, and one that it takes', () => {
    const isScenario = entry.route === 'POST /admin/scenario'
    expect(entry.body !== undefined).toBe(schema !== undefined || isScenario)
    if (schema) expect(schema.safeParse(entry.body).error?.message).toBeUndefined()
  })
})

test('the fields of a body are told with what they may be', () => {
  const consent = entries.find(({ route }) => route === 'POST /admin/consent')
  expect(consent && fieldsOf(consent)).toEqual([
    'account: string or null',
    'mode: "grant" or "deny" or "partial"',
    'scope: string or null',
  ])
})

test('a line to copy keeps what a shell must not read', () => {
  const entry = { route: 'DELETE /admin/accounts/:accountId/calendars/:calendarId', about: '' }
  expect(curlOf(entry, 'http://h', { accountId: 'c1', calendarId: "o'neil@example.com" })).toBe(
    "curl -s -X DELETE 'http://h/admin/accounts/c1/calendars/o%27neil%40example.com'",
  )
})

test('docs/simulator.md is what the manual says; `npm run gen` writes it', () => {
  const file = path.resolve(import.meta.dirname, '../../../docs/simulator.md')
  expect(readFileSync(file, 'utf8')).toBe(manualPage())
})
