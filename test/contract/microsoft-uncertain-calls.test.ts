// What Microsoft's documents leave open about single calls, played both ways: how a call too many
// is refused, what becomes of subscriptions, where an event goes that is moved, and in which words
// the sign-in refuses. The adapter makes the same of each.
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGraphReceiver } from '../support/graph-receiver.ts'
import { openSimulatedMicrosoft } from '../support/simulated-microsoft.ts'
import {
  failureOf,
  fold,
  onePage,
  readOn,
  signal,
  type TestAccount,
  type VendorWorld,
} from '../support/vendor-world.ts'

describe('an event that somebody moves to another calendar', () => {
  test('ends for the reader of the one and begins for the reader of the other, under one id', async () => {
    await using world = await openSimulatedMicrosoft({ repeatedItems: 0 })
    const account = await world.account({ events: 3, calendars: 2 })
    const other = { ...account, calendar: account.calendars[1] ?? '' }
    const single = await world.create(account, { title: 'single' })
    const ids = await world.createSeries(account, 4)
    await world.change(account, ids[1] ?? '', { title: 'an exception' })
    const [here, there] = [await begin(world, account), await begin(world, other)]
    await here('before the move')
    const calendar = encodeURIComponent(account.calendar)
    for (const id of [single, (ids[0] ?? '').split('_')[0]]) {
      const path = `/admin/accounts/${account.accountId}/calendars/${calendar}/events/${id}/move`
      await world.admin('POST', path, { calendarId: other.calendar })
    }
    expect(await here('after the move, here')).not.toEqual(expect.arrayContaining([single]))
    expect(await there('after the move, there')).toEqual(expect.arrayContaining([single, ...ids]))
  })
})

describe('a call too many', () => {
  /** One call of the mailbox is in flight and stays there; what becomes of the next. */
  async function nextCall(knobs: object) {
    await using world = await openSimulatedMicrosoft({ concurrencyMax: 1, ...knobs })
    const account = await world.account({ events: 1 })
    const match = { accountId: account.accountId, operation: 'list' }
    await world.admin('POST', '/admin/faults', { match, times: 1, delayMs: 600_000 })
    onePage(world.vendor, account, null, null).catch(() => {})
    await eventually('the first call', async () => {
      const { faults } = await world.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
      return faults[0]?.hits === 1
    })
    return await failureOf(onePage(world.vendor, account, null, null))
  }

  test.each([
    [{}, true],
    [{ concurrencyStatus: 503 }, true],
    [{ concurrencyRetryAfter: 'date' }, true],
    [{ concurrencyRetryAfter: 'absent' }, false],
    [{ concurrencyScope: 'app' }, true],
  ])('is throttling, however it is said: %j', async (knobs, saysWhen) => {
    const failure = await nextCall(knobs)
    expect([failure.code, typeof failure.retryAt === 'number']).toEqual(['vendor/throttled', saysWhen])
  })
})

describe('a channel', () => {
  async function opened(knobs: object) {
    const owned = new AsyncDisposableStack()
    const world = owned.use(await openSimulatedMicrosoft(knobs))
    const receiver = owned.use(await startGraphReceiver())
    const account = await world.account({ events: 1 })
    const channel = await world.vendor.openChannel(
      account.accessToken,
      {
        vendorCalendarId: account.calendar,
        callbackUrl: receiver.url,
        channelId: crypto.randomUUID(),
        token: 'a-signed-token',
        lifeMs: 3_600_000,
      },
      signal,
    )
    if (channel.kind !== 'opened') return expect.unreachable('the channel should open')
    const renew = (channelId: string) =>
      world.vendor.renewChannel(account.accessToken, { channelId, lifeMs: 7_200_000 }, signal)
    return { channel, receiver, renew, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  }

  test.each(['ResourceNotFound', 'ExtensionError'])('that is no more is gone, told by %s', async (code) => {
    await using setting = await opened({ unknownSubscription: code })
    expect(await setting.renew(crypto.randomUUID())).toEqual({ kind: 'gone' })
    expect((await setting.renew(setting.channel.channelId)).kind).toBe('renewed')
  })

  test.each([true, false])('is renewed whether its address is validated again or not: %s', async (again) => {
    await using setting = await opened({ renewalValidates: again })
    const before = setting.receiver.validations.length
    expect((await setting.renew(setting.channel.channelId)).kind).toBe('renewed')
    expect(setting.receiver.validations.length > before).toBe(again)
  })
})

describe('a refresh', () => {
  test.each([
    ['invalid_grant', 400, 'vendor/grant-revoked'],
    ['interaction_required', 400, 'vendor/grant-revoked'],
    ['conditional_access', 400, 'vendor/admin-required'],
    ['consent_required', 400, 'vendor/grant-revoked'],
    ['login_required', 400, 'vendor/grant-revoked'],
    ['invalid_client', 401, 'vendor/client-rejected'],
    ['unauthorized_client', 400, 'vendor/admin-required'],
    ['temporarily_unavailable', 503, 'vendor/unavailable'],
    ['temporarily_unavailable', 400, 'vendor/unavailable'],
    ['server_error', 500, 'vendor/unavailable'],
    [undefined, 429, 'vendor/throttled'],
  ])('that Entra answers with %s and %i is %s, and the next one works', async (reason, status, code) => {
    await using world = await openSimulatedMicrosoft({})
    const account = await world.account({ events: 0 })
    const respond = { status, ...(reason === undefined ? {} : { reason }) }
    await world.admin('POST', '/admin/faults', { match: { operation: 'token' }, times: 1, respond })
    const failure = await failureOf(world.vendor.refresh(account.refreshToken, signal))
    expect(failure.code).toBe(code)
    expect((await world.vendor.refresh(account.refreshToken, signal)).accessToken).not.toBe('')
  })
})

/**
 * A reader that has seen the calendar once;
 * each look reads on, is compared with the truth, and gives the ids.
 */
async function begin(world: VendorWorld, account: TestAccount) {
  const first = await readOn(world.vendor, account, null)
  let { cursor } = first
  const items = [...first.items]
  return async (what: string): Promise<readonly string[]> => {
    const more = await readOn(world.vendor, account, cursor)
    cursor = more.cursor
    items.push(...more.items)
    expect(fold(items), what).toEqual(await world.truth(account))
    return [...fold(items).keys()]
  }
}
