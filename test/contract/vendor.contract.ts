// What every vendor adapter promises, tried against a vendor over real HTTP. One suite for all: a vendor joins with a file that
// says how its world is made and which of the features it has.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FailureCode } from '#shared/domain/failure.ts'
import {
  everythingIn,
  failureOf,
  onePage,
  signal,
  WINDOW,
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
    describe('grants', () => declareGrants(() => world))
    describe('channels', () => declareChannels(() => world, features))
    describe('answers that no vendor should give', () => declareHostile(() => world))
  })
}

function declareTrouble(world: () => VendorWorld, features: VendorFeatures): void {
  const codes: readonly (readonly [Trouble, FailureCode])[] = [
    ['token-rejected', 'vendor/token-rejected'],
    ['throttled', 'vendor/throttled'],
    ['scope-missing', 'vendor/access-denied'],
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

  test('throttling carries the moment that the vendor named', async () => {
    const account = await world().account({ events: 1 })
    await world().trouble(account, 'throttled', 30)
    const failure = await failureOf(onePage(world().vendor, account, null, null))
    const inSeconds = ((failure.retryAt ?? 0) - Date.now() * 1000) / 1_000_000
    expect(inSeconds).toBeGreaterThan(20)
    expect(inSeconds).toBeLessThanOrEqual(30)
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

function declareGrants(world: () => VendorWorld): void {
  test('a refresh gives a token that works and its end', async () => {
    const account = await world().account({ events: 1 })
    const grant = await world().vendor.refresh(account.refreshToken, signal)
    expect(grant.accessExpiresAt).toBeGreaterThan(Date.now() * 1000)
    expect(await world().vendor.listCalendars(grant.accessToken, signal)).not.toEqual([])
  })

  test('a revoked grant needs the person; its access token is refused too', async () => {
    const account = await world().account({ events: 1 })
    await world().revoke(account)
    const refused = await failureOf(world().vendor.refresh(account.refreshToken, signal))
    expect(refused.code).toBe('vendor/grant-revoked')
    expect(everythingIn(refused)).not.toContain(account.refreshToken)
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
  const request = (vendorCalendarId: string) => ({
    channelId: crypto.randomUUID(),
    vendorCalendarId,
    // Nobody listens there: what a channel delivers is the ingress' matter.
    callbackUrl: 'http://127.0.0.1:9/webhooks',
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

  test.runIf(features.hasCalendarsWithoutPush)('a calendar that never rings says so as a value', async () => {
    const account = await world().account({ events: 1 })
    const refused = request(account.calendarWithoutPush ?? '')
    expect(await world().vendor.openChannel(account.accessToken, refused, signal)).toEqual({
      kind: 'push-not-supported',
    })
  })
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
    [
      '50 MB of nothing',
      (response) => response.end(Buffer.alloc(50 * 1024 * 1024, ' ')),
      'vendor/unreadable-answer',
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
