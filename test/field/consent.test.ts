// A person at a vendor's consent page, as people who run calendar sync reported it: they are
// connected, or told in words of their own what is missing and who can help.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { wordsOn } from '../../infra/demo/browser.ts'
import { openProduct, type Product } from './product.ts'
import { googleError } from './vendors/google.ts'
import type { Told } from './vendors/server.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_consent')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** An account of Google with one calendar. */
function anna(name: string) {
  const account = product.google.account(name)
  account.calendar(`${name}@example.com`, { primary: true })
  return account
}

test('a code with slashes, plus and equals signs arrives as it was given', async () => {
  await using story = await product.begin()
  const page = await story.consent(anna('odd-code'))
  expect(page.status, wordsOn(page)).toBe(200)
  expect(wordsOn(page)).toContain('Your calendar is connected')
})

test.each([
  ['all boxes left empty', ''],
  ['the address alone', 'openid https://www.googleapis.com/auth/userinfo.email'],
])('a person who allowed too little (%s) is told that a permission is missing', async (_what, scope) => {
  await using story = await product.begin()
  const account = anna(`scope-${scope.length}`)
  account.scope = scope
  const page = await story.consent(account)
  expect(page.status).toBe(403)
  expect(wordsOn(page)).toContain('permission is missing')
  expect(await story.connections()).toEqual([])
})

test.each<[string, Record<string, string>, number]>([
  ['refuses', { error: 'access_denied' }, 403],
  ['comes back with neither a code nor an error', { scope: '' }, 400],
])('a person who %s is told so and nothing is connected', async (_what, query, least) => {
  await using story = await product.begin()
  const page = await story.consent(anna(`back-${least}`), { query })
  expect(page.status).toBeGreaterThanOrEqual(least)
  expect(page.status).toBeLessThan(500)
  expect(await story.connections()).toEqual([])
})

test.each([
  ['short', ''],
  ['worldwide', 'https://graph.microsoft.com/'],
  ['worldwide with two slashes', 'https://graph.microsoft.com//'],
  ['US Government L4', 'https://graph.microsoft.us/'],
  ['US Government L5', 'https://dod-graph.microsoft.us/'],
  ['21Vianet', 'https://microsoftgraph.chinacloudapi.cn/'],
  ['by the id of Graph', '00000003-0000-0000-c000-000000000000/'],
])('scopes that are named by a resource (%s) are the same scopes', async (what, resource) => {
  await using story = await product.begin()
  const account = product.microsoft.account(`cloud-${what.replaceAll(/\W/g, '')}`)
  account.calendar(`own-${what.length}`, { isDefaultCalendar: true })
  account.scope =
    ['Calendars.Read', 'User.Read', 'MailboxSettings.Read'].map((one) => resource + one).join(' ') +
    ' openid profile'
  const page = await story.consent(account)
  expect(page.status, wordsOn(page)).toBe(200)
})

test('a person who declines at Microsoft is not told to ask an administrator', async () => {
  await using story = await product.begin()
  const account = product.microsoft.account('declines')
  const query = {
    error: 'access_denied',
    error_description: 'AADSTS65004: User declined to consent to access the app.',
  }
  const page = await story.consent(account, { query })
  expect(wordsOn(page)).not.toMatch(/administrator/i)
})

test.each<[string, Told, RegExp]>([
  [
    'whose Calendar is switched off',
    googleError(403, 'notACalendarUser', 'The user must be signed up for Google Calendar.', 'calendar'),
    /Google Calendar/,
  ],
  ['without Calendar', googleError(404, 'notFound', 'Not Found'), /Google Calendar|no calendar/i],
])('an account %s gets words of its own', async (_what, told, words) => {
  await using story = await product.begin()
  const account = anna(`no-calendar-${told.status}`)
  story.when(account, ({ path }) => (path.startsWith('/calendar/') ? told : undefined))
  const page = await story.consent(account)
  expect(page.status).toBeGreaterThanOrEqual(400)
  expect(wordsOn(page)).toMatch(words)
  expect(wordsOn(page)).not.toMatch(/fault of calstream|malformed/i)
  expect(await story.connections()).toEqual([])
})

test.each<[string, Record<string, string>, RegExp]>([
  [
    'an administrator has to approve',
    {
      error: 'access_denied',
      error_subcode: 'cancel',
      error_description: 'AADSTS90094: The grant requires admin permission.',
    },
    /administrator/i,
  ],
  [
    'the same in other words',
    { error: 'consent_required', error_description: 'AADSTS90094: The grant requires admin permission.' },
    /administrator/i,
  ],
  [
    'an administrator approved, and no code comes',
    { admin_consent: 'True', tenant: 'contoso' },
    /administrator|approved/i,
  ],
])('at Microsoft %s: the page says so', async (_what, query, words) => {
  await using story = await product.begin()
  const account = product.microsoft.account(`admin-${Object.keys(query).length}`)
  account.calendar('own-admin', { isDefaultCalendar: true })
  const page = await story.consent(account, { query })
  expect(wordsOn(page)).toMatch(words)
  expect(await story.connections()).toEqual([])
})
