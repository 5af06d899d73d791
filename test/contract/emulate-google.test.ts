// A second opinion on what our Google adapter sends: `emulate` (Apache-2.0), a Google written by
// other people from the same documents. It judges OAuth (authorization request, PKCE, code
// exchange, refresh), calendarList and events.list, and the SDK's insert, delete and freebusy. It
// cannot judge the rest, because it differs from Google there:
//   no nextSyncToken and no syncToken    a run cannot end: the adapter must say so instead of going
//                                        on without a cursor
//   no calendarList.get, no watch, stop  404 with a body that is not Google's
//   a client's own event id is ignored   inserting twice makes two events instead of 409
//   events.delete removes for good       no tombstone, no 410
//   any access token is taken            an unknown one is its default user's: no 401, no scopes,
//                                        no expiry
//   revocation reads the body only       the adapter sends the body, as the guide shows; a token
//                                        stays usable all the same
import { createHash, randomBytes } from 'node:crypto'
import { createEmulator } from 'emulate'
import { calendar } from 'googleapis/build/src/apis/calendar/index.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { freePorts } from '../../infra/stack/ports.ts'

const EMAIL = 'ana@example.com'
const REDIRECT = 'http://127.0.0.1:9/api/auth/google/calendar/callback'
const DAY_MS = 86_400_000
/** More than the emulator's page, so that one page ends with a token. */
const EVENTS = 260
const FROM = Date.UTC(2026, 11, 1)

let emulator: { readonly url: string; close(): Promise<void> }
let vendor: Vendor

beforeAll(async () => {
  const { google: port } = await freePorts(['google'])
  emulator = await createEmulator({
    service: 'google',
    port,
    seed: {
      google: {
        users: [{ email: EMAIL, name: 'Ana' }],
        oauth_clients: [{ client_id: 'calstream', client_secret: 'hidden', redirect_uris: [REDIRECT] }],
        calendars: [
          { id: EMAIL, user_email: EMAIL, summary: 'Ana', primary: true, time_zone: 'Europe/Berlin' },
          { id: 'team', user_email: EMAIL, summary: 'Team' },
        ],
      },
    },
  })
  vendor = createGoogle({
    apiUrl: emulator.url,
    authUrl: `${emulator.url}/o/oauth2/v2/auth`,
    tokenUrl: `${emulator.url}/oauth2/token`,
    revokeUrl: `${emulator.url}/oauth2/revoke`,
    clientId: 'calstream',
    clientSecret: new Secret('hidden'),
  })
})

afterAll(() => emulator.close())

function deadline(): AbortSignal {
  return AbortSignal.timeout(15_000)
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const thrown: unknown = await work.then(
    () => null,
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(Failure)
  return thrown as Failure
}

/**
 * Consents as a person does: opens our address, presses the button of the page,
 * and lands at the redirect address.
 */
async function consent() {
  const codeVerifier = randomBytes(32).toString('base64url')
  const codeChallenge = createHash('sha256').update(codeVerifier).digest('base64url')
  const asked = vendor.consentUrl({ redirectUri: REDIRECT, state: 'st ate', codeChallenge, loginHint: EMAIL })
  const page = await fetch(asked, { redirect: 'manual', signal: deadline() })
  const html = await page.text()
  expect([page.status, html]).toEqual([200, expect.stringContaining(`value="${EMAIL}"`)])
  const form = html.split('<form').find((part) => part.includes(`name="email" value="${EMAIL}"`)) ?? ''
  const fields = [...form.matchAll(/name="([^"]+)" value="([^"]*)"/g)].map(([, name = '', value = '']) => [
    name,
    value,
  ])
  const body = new URLSearchParams(fields as [string, string][])
  const target = new URL('/o/oauth2/v2/auth/callback', emulator.url)
  const answer = await fetch(target, { method: 'POST', body, redirect: 'manual', signal: deadline() })
  const back = new URL(answer.headers.get('location') ?? '')
  expect([`${back.origin}${back.pathname}`, back.searchParams.get('state')]).toEqual([REDIRECT, 'st ate'])
  return { code: back.searchParams.get('code') ?? '', codeVerifier, redirectUri: REDIRECT }
}

async function connect() {
  return vendor.exchangeCode(await consent(), deadline())
}

function sdk(accessToken: string) {
  const headers = { Authorization: `Bearer ${accessToken}` }
  return calendar({ version: 'v3', rootUrl: `${emulator.url}/`, retry: false, headers, timeout: 15_000 })
}

describe('consent at an independent Google', () => {
  it('takes our authorization request and code exchange, and gives lasting access', async () => {
    const grant = await connect()
    expect(grant).toMatchObject({
      accessToken: expect.stringMatching(/^google_/),
      refreshToken: expect.stringMatching(/^google_refresh_/),
      scope: 'openid https://www.googleapis.com/auth/calendar.readonly',
      missingScopes: [],
    })
    const refreshed = await vendor.refresh(grant.refreshToken, deadline())
    expect(refreshed.accessToken).toMatch(/^google_/)
    expect(refreshed.accessToken).not.toBe(grant.accessToken)
    expect(refreshed.refreshToken).toBeNull()
  })

  it('refuses a code without its verifier, a second time, and a token that never was', async () => {
    const wrong = { ...(await consent()), codeVerifier: 'w'.repeat(43) }
    expect((await failureOf(vendor.exchangeCode(wrong, deadline()))).code).toBe('vendor/grant-revoked')
    const once = await consent()
    await vendor.exchangeCode(once, deadline())
    expect((await failureOf(vendor.exchangeCode(once, deadline()))).code).toBe('vendor/grant-revoked')
    expect((await failureOf(vendor.refresh('never', deadline()))).code).toBe('vendor/grant-revoked')
  })

  it('takes our revocation', async () => {
    const grant = await connect()
    await expect(vendor.revoke(grant.refreshToken, deadline())).resolves.toBeUndefined()
  })
})

describe('calendars at an independent Google', () => {
  it('are listed as they were made', async () => {
    const { accessToken } = await connect()
    expect(await vendor.listCalendars(accessToken, deadline())).toMatchObject([
      { vendorCalendarId: EMAIL, name: 'Ana', primary: true, accessRole: 'owner' },
      { vendorCalendarId: 'team', name: 'Team', primary: false, accessRole: 'owner' },
    ])
  })
})

describe('events at an independent Google', () => {
  it('that the SDK inserts are read by the adapter, page by page in the window, until it can end no run', async () => {
    const { accessToken } = await connect()
    const client = sdk(accessToken)
    for (let index = 0; index < EVENTS; index += 1) {
      const at = (ms: number) => ({ dateTime: new Date(FROM + index * 3_600_000 + ms).toISOString() })
      const requestBody = { summary: `event ${index}`, start: at(0), end: at(1_800_000) }
      expect((await client.events.insert({ calendarId: EMAIL, requestBody })).status).toBe(200)
    }
    const outside = { dateTime: new Date(FROM + 400 * DAY_MS).toISOString() }
    const late = { dateTime: new Date(FROM + 400 * DAY_MS + 1).toISOString() }
    await client.events.insert({
      calendarId: EMAIL,
      requestBody: { summary: 'outside', start: outside, end: late },
    })
    const request = {
      vendorCalendarId: EMAIL,
      cursor: null,
      window: { from: (FROM - DAY_MS) * 1000, to: (FROM + 30 * DAY_MS) * 1000 },
    }
    const first = await vendor.fetchPage(accessToken, { ...request, pageToken: null }, deadline())
    if (first.kind !== 'page' || first.next.kind !== 'more')
      throw new Error('A page with a token was expected.')
    expect(first.unreadable).toEqual([])
    expect(first.items).toHaveLength(250)
    expect(first.items[0]).toMatchObject({
      kind: 'event',
      event: {
        title: 'event 0',
        allDay: false,
        start: { at: FROM * 1000 },
        end: { at: (FROM + 1_800_000) * 1000 },
      },
    })
    const last = failureOf(
      vendor.fetchPage(accessToken, { ...request, pageToken: first.next.pageToken }, deadline()),
    )
    expect(await last).toMatchObject({
      code: 'vendor/unreadable-answer',
      message: expect.stringContaining('neither a page token nor a sync token'),
    })
  })

  it('that the SDK deletes are gone', async () => {
    const { accessToken } = await connect()
    const client = sdk(accessToken)
    const requestBody = { summary: 'short', start: { date: '2026-12-01' }, end: { date: '2026-12-02' } }
    const { data } = await client.events.insert({ calendarId: 'team', requestBody })
    const list = async () =>
      (await client.events.list({ calendarId: 'team' })).data.items?.map(({ id }) => id)
    expect(await list()).toEqual([data.id])
    expect((await client.events.delete({ calendarId: 'team', eventId: data.id ?? '' })).status).toBe(204)
    expect(await list()).toEqual([])
    await expect(client.events.delete({ calendarId: 'team', eventId: 'never' })).rejects.toMatchObject({
      status: 404,
    })
  })

  it('make a calendar busy', async () => {
    const { accessToken } = await connect()
    const [timeMin, timeMax] = ['2026-12-01T00:00:00Z', '2026-12-01T01:00:00Z']
    const { data } = await sdk(accessToken).freebusy.query({
      requestBody: { timeMin, timeMax, items: [{ id: EMAIL }] },
    })
    expect(data.calendars?.[EMAIL]?.busy).toEqual([
      { start: '2026-12-01T00:00:00.000Z', end: '2026-12-01T00:30:00.000Z' },
    ])
  })
})

describe('what an independent Google does not have', () => {
  it('is a failure in words, never a wrong answer', async () => {
    const { accessToken } = await connect()
    const channel = {
      vendorCalendarId: EMAIL,
      channelId: 'abc',
      callbackUrl: 'https://127.0.0.1:9/hook',
      token: 't',
      lifeMs: DAY_MS,
    }
    expect((await failureOf(vendor.account(accessToken, deadline()))).message).toMatch(/Google/)
    expect((await failureOf(vendor.openChannel(accessToken, channel, deadline()))).message).toMatch(/Google/)
  })
})
