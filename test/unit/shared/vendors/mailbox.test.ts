// Whose call each method of a mailbox is, and what stands around it.
import { expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId, type VendorName } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { createLogger } from '#shared/process/log.ts'
import type { Caller } from '#shared/vendors/limits/budget.ts'
import type { Guard } from '#shared/vendors/limits/guard.ts'
import { createMailboxes, openConsents, type Attempt } from '#shared/vendors/mailbox.ts'
import { sendAtOnce, type EachCall, type Vendor } from '#shared/vendors/vendor.ts'
import { NEVER_SPENT } from '../../../support/free-mailboxes.ts'

const ALICE = {
  vendor: 'google',
  connectionId: connectionId('00000000-0000-4000-8000-00000000000a'),
} as const
const signal = new AbortController().signal
const window = { from: 0, to: 1 }
const page = { vendorCalendarId: 'c', cursor: 'since', pageToken: null, window }

/** A mailbox of Alice's, with a note of all that is asked for it. */
function setup(rejects: readonly string[] = []) {
  const callers: Caller[] = []
  const log: string[] = []
  const answer = async (token: string) => {
    log.push(`sent with ${token}`)
    if (rejects.includes(token)) throw new Failure('vendor/token-rejected')
    return { id: 'a', label: null }
  }
  const many = async (token: string, ...rest: readonly unknown[]) => {
    const each = rest.at(-1) as EachCall
    await each(() => answer(token))
    return each(() => answer(token))
  }
  const vendor = {
    name: 'google',
    account: answer,
    listCalendars: many,
    fetchPage: many,
    fetchSeries: many,
    lookUp: many,
    openChannel: answer,
    renewChannel: answer,
    stopChannel: answer,
    revoke: answer,
  } as unknown as Vendor
  const guard: Guard = {
    run(caller, _signal, method) {
      callers.push(caller)
      return method((send) => {
        log.push('counted')
        return sendAtOnce(send)
      })
    },
    openBreakers: () => [],
  }
  let n = 1
  const tokens = { of: async () => `token ${n}`, invalidate: () => void (n += 1) }
  const mailboxes = createMailboxes([{ vendor, guard, tokens }])
  return { callers, log, mailboxes, mailbox: mailboxes.of(ALICE) }
}

const LIVE = { mailbox: ALICE.connectionId, endpoint: 'api', priority: 'live' }
const BACKFILL = { ...LIVE, priority: 'backfill' }

test('every call is that of its connection; what reads a whole calendar, or looks up what one lacked, is backfill', async () => {
  const { mailbox, callers } = setup()
  await mailbox.account(signal)
  await mailbox.listCalendars(signal)
  await mailbox.fetchPage(page, signal)
  await mailbox.fetchSeries({ ...page, seriesId: 's', isEnded: false, witness: null }, signal)
  const channel = { channelId: 'c', resourceId: null, lifeMs: 1 }
  await mailbox.openChannel({ ...channel, vendorCalendarId: 'c', callbackUrl: 'u', token: 't' }, signal)
  await mailbox.renewChannel(channel, signal)
  await mailbox.stopChannel(channel, signal)
  expect(callers).toEqual(Array.from({ length: 7 }, () => LIVE))
  callers.length = 0
  await mailbox.fetchPage({ ...page, cursor: null }, signal)
  await mailbox.lookUp({ vendorCalendarId: 'c', vendorEventId: 'e', window }, signal)
  expect(callers).toEqual([BACKFILL, BACKFILL])
})

test("a question about the account and a grant that is given back are held up by no rest of the mailbox; the question counts as the mailbox's", async () => {
  const { mailbox, callers } = setup()
  await mailbox.probeAccount(true, signal)
  await mailbox.revoke('refresh', signal)
  expect(callers).toEqual([
    { mailbox: null, about: ALICE.connectionId, endpoint: 'api', priority: 'live' },
    { mailbox: null, endpoint: 'login', priority: 'live' },
  ])
})

test('a question about the account is asked with another token, unless the last one is fresh', async () => {
  const again = setup(['token 1', 'token 2'])
  await expect(again.mailbox.probeAccount(false, signal)).rejects.toMatchObject({
    code: 'vendor/token-rejected',
  })
  expect(again.log).toEqual(['counted', 'sent with token 2'])
  const fresh = setup()
  await fresh.mailbox.probeAccount(true, signal)
  expect(fresh.log).toEqual(['counted', 'sent with token 1'])
})

test('each call of a method is counted, and all of them again after a rejected token', async () => {
  const { mailbox, log } = setup(['token 1'])
  await mailbox.fetchPage(page, signal)
  const one = (token: string) => ['counted', `sent with ${token}`]
  expect(log).toEqual([...one('token 1'), ...one('token 2'), ...one('token 2')])
})

test('the attempt is asked before each try, the one with a fresh token too, and may answer instead', async () => {
  const { mailboxes, log } = setup(['token 1'])
  let isOpen = true
  const attempt: Attempt<'closed'> = async (send) => {
    log.push(isOpen ? 'open' : 'closed')
    if (!isOpen) return 'closed'
    isOpen = false
    return send()
  }
  expect(await mailboxes.of<'closed'>(ALICE, attempt).account(signal)).toBe('closed')
  expect(log).toEqual(['open', 'counted', 'sent with token 1', 'closed'])
})

test('there is no mailbox at a vendor that is not configured', () => {
  const { mailboxes } = setup()
  expect([...mailboxes.vendors]).toEqual<VendorName[]>(['google'])
  expect(() => mailboxes.of({ ...ALICE, vendor: 'microsoft' })).toThrow(/not configured for microsoft/)
})

test('a consent has the limits of the vendor alone, and counts each call', async () => {
  const asked: string[] = []
  const vendor = {
    name: 'google',
    account: async () => ({ id: 'a', label: null }),
    listCalendars: async (_token: string, _signal: AbortSignal, each: EachCall) => {
      await each(async () => undefined)
      return each(async () => [])
    },
    exchangeCode: async () => ({}),
  } as unknown as Vendor
  const quota = 1_000_000
  const consents = openConsents(new Map([['google', vendor]]), {
    quotas: {
      GOOGLE_CALLS_PER_MINUTE: quota,
      GOOGLE_MAILBOX_CALLS_PER_MINUTE: quota,
      MICROSOFT_CALLS_PER_MINUTE: quota,
      MICROSOFT_MAILBOX_CALLS_PER_MINUTE: quota,
    },
    store: {
      ...NEVER_SPENT,
      take: (wishes) => {
        asked.push(wishes.map(({ key }) => key).join(' + '))
        return NEVER_SPENT.take(wishes)
      },
    },
    clock: systemClock,
    logger: createLogger({ service: 'test', level: 'silent' }),
  })
  const google = consents.get('google')!
  await google.exchangeCode({ code: 'c', codeVerifier: 'v', redirectUri: 'r' }, signal)
  await google.account('token', signal)
  await google.listCalendars('token', signal)
  const api = 'google + google api refusals'
  expect(asked).toEqual(['google login + google login refusals', api, api, api])
})
