// What every vendor adapter promises, tried against a vendor over real HTTP. One suite for all: a
// vendor joins with a file that says how its world is made and which of the features it has.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FailureCode } from '#shared/domain/failure.ts'
import { ANSWER_BYTES_MAX } from '#shared/domain/page-limits.ts'
import {
  everythingIn,
  failureOf,
  fold,
  onePage,
  readOn,
  signal,
  WINDOW,
  type TestAccount,
  type Trouble,
  type VendorFeatures,
  type VendorWorld,
} from '../support/vendor-world.ts'
import { declareReading } from './vendor-reading.contract.ts'

/** Declares the suite for one vendor. */
export function describeVendor(
  name: string,
  features: VendorFeatures,
  setup: () => Promise<VendorWorld>,
): void {
  describe(name, () => {
    let world: VendorWorld
    beforeAll(async () => {
      world = await setup()
    })
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]()
    })

    describe('reading', () => declareReading(() => world))
    describe('trouble', () => declareTrouble(() => world, features))
    describe('grants', () => declareGrants(() => world, features))
    describe('channels', () => declareChannels(() => world, features))
    describe('answers that no vendor should give', () => declareHostile(() => world))
  })
}

function declareTrouble(world: () => VendorWorld, features: VendorFeatures): void {
  const codes: readonly (readonly [Trouble, FailureCode])[] = [
    ['token-rejected', 'vendor/token-rejected'],
    ['throttled', 'vendor/throttled'],
    ['scope-missing', features.tellsMissingScopes ? 'vendor/access-denied' : 'vendor/call-refused'],
    ['calendar-gone', 'vendor/calendar-gone'],
    ['server-error', 'vendor/unavailable'],
    ['html', 'vendor/unavailable'],
    ['connection-reset', 'vendor/unavailable'],
    ['truncated', 'vendor/unreadable-answer'],
    ['malformed-request', 'vendor/rejected'],
    ...(features.throttlesWith403 ? ([['throttled-403', 'vendor/throttled']] as const) : []),
  ]

  test.each(codes)('%s is %s after one call, and the next call works', async (trouble, code) => {
    const account = await world().account({ events: 3 })
    const before = await world().calls(account)
    await world().trouble(account, trouble)
    const failure = await failureOf(onePage(world().vendor, account, null, null))
    expect(failure.code).toBe(code)
    expect(await world().calls(account)).toBe(before + 1)
    expect((await onePage(world().vendor, account, null, null)).kind).toBe('page')
  })

  test.each([
    ['in seconds', () => '30'],
    ['as a date', () => new Date(Date.now() + 30_000).toUTCString()],
  ])('throttling carries the moment that the vendor named %s', async (_form, retryAfter) => {
    const account = await world().account({ events: 1 })
    await world().trouble(account, 'throttled', retryAfter())
    const failure = await failureOf(onePage(world().vendor, account, null, null))
    const inSeconds = ((failure.retryAt ?? 0) - Date.now() * 1000) / 1_000_000
    expect(inSeconds).toBeGreaterThan(15)
    expect(inSeconds).toBeLessThanOrEqual(30)
  })

  test('a trouble on a later page loses and repeats nothing that the run had', async () => {
    await world().smallPages(10, false)
    const account = await world().account({ events: 30 })
    const first = await onePage(world().vendor, account, null, null)
    await world().trouble(account, 'truncated')
    const failure = await failureOf(readOn(world().vendor, account, null, first))
    expect(failure.code).toBe('vendor/unreadable-answer')
    const rest = await readOn(world().vendor, account, null, first)
    expect(fold([...first.items, ...rest.items])).toEqual(await world().truth(account))
  })

  test('no failure carries a token', async () => {
    const account = await world().account({ events: 1 })
    for (const [trouble] of codes) {
      await world().trouble(account, trouble)
      const failure = await failureOf(onePage(world().vendor, account, null, null))
      expect(everythingIn(failure)).not.toContain(account.accessToken)
    }
  })
}

function declareGrants(world: () => VendorWorld, features: VendorFeatures): void {
  test('a person consents, and the grant reads, refreshes and is given back', async () => {
    const account = await world().account({ events: 2 })
    const { vendor } = world()
    const answer = await world().consent(account, 'grant')
    if (answer.kind !== 'granted') return expect.unreachable('the person consented')
    const grant = await vendor.exchangeCode(answer.code, signal)
    expect(grant.missingScopes).toEqual([])
    expect(grant.accessExpiresAt).toBeGreaterThan(Date.now() * 1000)
    expect((await vendor.listCalendars(grant.accessToken, signal)).length).toBe(account.calendars.length)
    const refreshed = await vendor.refresh(grant.refreshToken, signal)
    expect(await vendor.listCalendars(refreshed.accessToken, signal)).not.toEqual([])
    await vendor.revoke(grant.refreshToken, signal)
    await vendor.revoke(grant.refreshToken, signal)
    const after = vendor.refresh(grant.refreshToken, signal)
    if (features.revokes) expect((await failureOf(after)).code).toBe('vendor/grant-revoked')
    else expect((await after).accessToken).not.toBe('')
  })

  test('the account behind a grant is the same after every consent, and another one for another person', async () => {
    const [one, other] = [await world().account({ events: 0 }), await world().account({ events: 0 })]
    const accountOf = async (account: TestAccount) => {
      const answer = await world().consent(account, 'grant')
      if (answer.kind !== 'granted') return expect.unreachable('the person consented')
      const { accessToken } = await world().vendor.exchangeCode(answer.code, signal)
      return world().vendor.account(accessToken, signal)
    }
    const first = await accountOf(one)
    expect(first.label).toBe(one.email)
    expect(await accountOf(one)).toEqual(first)
    expect((await accountOf(other)).id).not.toBe(first.id)
  })

  test('a code works once, with its own verifier and address only', async () => {
    const account = await world().account({ events: 0 })
    const exchange = async (change: object) => {
      const answer = await world().consent(account, 'grant')
      if (answer.kind !== 'granted') return expect.unreachable('the person consented')
      return failureOf(world().vendor.exchangeCode({ ...answer.code, ...change }, signal))
    }
    const foreign = await exchange({ codeVerifier: 'x'.repeat(43) })
    expect(foreign.code).toBe('vendor/grant-revoked')
    expect(everythingIn(foreign)).not.toContain('x'.repeat(43))
    expect((await exchange({ code: 'made-up' })).code).toBe('vendor/grant-revoked')
    expect((await exchange({ redirectUri: 'http://127.0.0.1:9/elsewhere' })).kind).not.toBe('defect')
    const answer = await world().consent(account, 'grant')
    if (answer.kind !== 'granted') return expect.unreachable('the person consented')
    await world().vendor.exchangeCode(answer.code, signal)
    expect((await failureOf(world().vendor.exchangeCode(answer.code, signal))).code).toBe(
      'vendor/grant-revoked',
    )
  })

  test('a person who gives a part is told which part is missing; one who gives nothing brings no code', async () => {
    const account = await world().account({ events: 0 })
    const part = await world().consent(account, 'partial')
    if (part.kind !== 'granted') return expect.unreachable('the person gave a part')
    expect((await world().vendor.exchangeCode(part.code, signal)).missingScopes).not.toEqual([])
    expect(await world().consent(account, 'deny')).toEqual({ kind: 'denied', error: 'access_denied' })
  })

  test('a rotated refresh token is told, and works', async () => {
    const account = await world().account({ events: 0 })
    await world().rotate(true)
    const grant = await world().vendor.refresh(account.refreshToken, signal)
    await world().rotate(false)
    expect(grant.refreshToken).not.toBeNull()
    expect((await world().vendor.refresh(grant.refreshToken ?? '', signal)).accessToken).not.toBe('')
  })

  test('a refresh gives a token that works and its end', async () => {
    const account = await world().account({ events: 1 })
    const grant = await world().vendor.refresh(account.refreshToken, signal)
    expect(grant.accessExpiresAt).toBeGreaterThan(Date.now() * 1000)
    expect(await world().vendor.listCalendars(grant.accessToken, signal)).not.toEqual([])
  })

  test('a revoked grant needs the person, and its access token ends with it where the vendor does that', async () => {
    const account = await world().account({ events: 1 })
    await world().revoke(account)
    const refused = await failureOf(world().vendor.refresh(account.refreshToken, signal))
    expect(refused.code).toBe('vendor/grant-revoked')
    expect(everythingIn(refused)).not.toContain(account.refreshToken)
    if (!features.accessEndsWithGrant) return
    expect((await failureOf(onePage(world().vendor, account, null, null))).code).toBe('vendor/token-rejected')
  })

  test('an access token that nobody issued is rejected', async () => {
    const account = await world().account({ events: 1 })
    const stranger = { ...account, accessToken: 'nobody-issued-this' }
    expect((await failureOf(onePage(world().vendor, stranger, null, null))).code).toBe(
      'vendor/token-rejected',
    )
  })
}

function declareChannels(world: () => VendorWorld, features: VendorFeatures): void {
  // What a channel delivers is the ingress' matter; here somebody only answers Graph's question
  // whether the address is ours.
  let callback: Callback
  beforeAll(async () => {
    callback = await openCallback()
  })
  afterAll(async () => {
    await callback?.[Symbol.asyncDispose]()
  })
  const request = (vendorCalendarId: string) => ({
    channelId: crypto.randomUUID(),
    vendorCalendarId,
    callbackUrl: callback.url,
    token: 'a-signed-token',
    lifeMs: 3_600_000,
  })

  test('a channel opens with an end in the future and stops, a second time too', async () => {
    const account = await world().account({ events: 1 })
    const opened = await world().vendor.openChannel(account.accessToken, request(account.calendar), signal)
    expect(opened.kind).toBe('opened')
    if (opened.kind !== 'opened') return
    expect(opened.expiresAt).toBeGreaterThan(Date.now() * 1000)
    expect(opened.expiresAt).toBeLessThanOrEqual(Date.now() * 1000 + 3_660_000_000)
    const { channelId, resourceId } = opened
    await world().vendor.stopChannel(account.accessToken, { channelId, resourceId }, signal)
    await world().vendor.stopChannel(account.accessToken, { channelId, resourceId }, signal)
  })

  test('a channel that never was counts as stopped', async () => {
    const account = await world().account({ events: 1 })
    const channel = { channelId: crypto.randomUUID(), resourceId: 'unknown' }
    await expect(world().vendor.stopChannel(account.accessToken, channel, signal)).resolves.toBeUndefined()
  })

  test('a channel on a calendar that is gone is refused as such', async () => {
    const account = await world().account({ events: 1 })
    const failure = await failureOf(
      world().vendor.openChannel(account.accessToken, request('no-such-calendar'), signal),
    )
    expect(failure.code).toBe('vendor/calendar-gone')
  })

  if (features.hasCalendarsWithoutPush)
    test('a calendar that never rings says so as a value', async () => {
      const account = await world().account({ events: 1 })
      const refused = request(account.calendarWithoutPush ?? '')
      expect(await world().vendor.openChannel(account.accessToken, refused, signal)).toEqual({
        kind: 'push-not-supported',
      })
    })

  test('a channel is renewed where the vendor does that; one that never was is gone', async () => {
    const account = await world().account({ events: 1 })
    const { vendor } = world()
    const opened = await vendor.openChannel(account.accessToken, request(account.calendar), signal)
    if (opened.kind !== 'opened') return expect.unreachable('the channel should open')
    const { channelId } = opened
    const renewed = await vendor.renewChannel(account.accessToken, { channelId, lifeMs: 7_200_000 }, signal)
    if (!features.renewsChannels) expect(renewed).toEqual({ kind: 'gone' })
    else if (renewed.kind === 'renewed') expect(renewed.expiresAt).toBeGreaterThan(opened.expiresAt)
    else expect.unreachable('the channel is there')
    const unknown = { channelId: crypto.randomUUID(), lifeMs: 7_200_000 }
    expect(await vendor.renewChannel(account.accessToken, unknown, signal)).toEqual({ kind: 'gone' })
  })

  if (features.validatesCallbacks)
    test('an address that does not answer opens no channel', async () => {
      const account = await world().account({ events: 1 })
      const nowhere = { ...request(account.calendar), callbackUrl: 'http://127.0.0.1:9/webhooks' }
      const failure = await failureOf(world().vendor.openChannel(account.accessToken, nowhere, signal))
      expect(failure.code).toBe('vendor/callback-refused')
    })
}

interface Callback extends AsyncDisposable {
  readonly url: string
}

/**
 * Echoes a validation token, as Graph asks:
 * learn.microsoft.com/graph/change-notifications-delivery-webhooks
 */
async function openCallback(): Promise<Callback> {
  const server = createServer((request, response) => {
    const token = new URL(request.url ?? '/', 'http://localhost').searchParams.get('validationToken')
    response.writeHead(token === null ? 202 : 200, { 'content-type': 'text/plain' }).end(token ?? '')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/webhooks`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

function declareHostile(world: () => VendorWorld): void {
  const forever = (response: ServerResponse) => {
    const chunk = Buffer.alloc(1024 * 1024, ' ')
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.writeHead(200, { 'content-type': 'application/json' }).on('drain', more)
    more()
  }
  const answers: readonly [string, (response: ServerResponse) => void, FailureCode][] = [
    [
      'a redirect',
      (response) => response.writeHead(302, { location: '/' }).end(),
      'vendor/unreadable-answer',
    ],
    ['HTML with status 200', (response) => response.end('<html>'), 'vendor/unreadable-answer'],
    ['HTML with status 404', (response) => response.writeHead(404).end('<html>'), 'vendor/unreadable-answer'],
    ['JSON of another kind', (response) => response.end('[1]'), 'vendor/unreadable-answer'],
    ['half a JSON', (response) => response.end('{"items":[{"id":'), 'vendor/unreadable-answer'],
    ['a page without its list', (response) => response.end('{}'), 'vendor/unreadable-answer'],
    [
      'a list of another type',
      (response) => response.end('{"items":7,"value":7}'),
      'vendor/unreadable-answer',
    ],
    [
      'as much nothing as an answer may have',
      (response) => response.end(Buffer.alloc(ANSWER_BYTES_MAX, ' ')),
      'vendor/unreadable-answer',
    ],
    [
      'a byte more than that',
      (response) => response.end(Buffer.alloc(ANSWER_BYTES_MAX + 1, ' ')),
      'vendor/answer-too-large',
    ],
    [
      'a million removals',
      (response) => {
        const rows = `[${'{"id":"r","status":"cancelled","@removed":{}},'.repeat(1_000_000).slice(0, -1)}]`
        response.end(`{"items":${rows},"value":${rows}}`)
      },
      'vendor/answer-too-large',
    ],
    ['a body without end', forever, 'vendor/answer-too-large'],
  ]

  test.each(answers)('%s is bounded and becomes a failure', async (_what, answer, code) => {
    let hits = 0
    const server = createServer((_request, response) => {
      hits += 1
      answer(response)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const { port } = server.address() as AddressInfo
      const vendor = world().vendorAt(`http://127.0.0.1:${port}`)
      const request = { vendorCalendarId: 'c', cursor: null, pageToken: null, window: WINDOW }
      expect((await failureOf(vendor.fetchPage('token', request, signal))).code).toBe(code)
      expect(hits).toBe(1)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
}
