// What vendors do besides being away: throttling, lost cursors, hostile answers. Grants: grants.ts.
import { randomBytes } from 'node:crypto'
import { recordedFailures } from '../checkers/failures.ts'
import { isListing } from '../checkers/history.ts'
import {
  allOf,
  atMost,
  below,
  criterion,
  exactly,
  met,
  named,
  noted,
  within,
  type Finding,
} from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import { mostWithin } from '../ledgers/calls.ts'
import type { ApiCall } from '../ledgers/ledgers.ts'
import { reconcileNow } from './asking.ts'
import { grants } from './grants.ts'
import { MINUTE_MS, MOVED, passTime } from './hours.ts'

const UNCOUNTED = exactly(0)
const NO_HERD = atMost(1 / 5, 'share')
const RETRY_AFTER_S = 9

const throttling: Drill = {
  id: 'THROTTLE',
  title: '429 storm with and without Retry-After, 403 rateLimitExceeded, recovery of everybody at once',
  report: 'vendors',
  criteria: {
    'THROTTLE.1': criterion`No call inside a backoff window, Retry-After is a floor`,
    'THROTTLE.2': criterion`Throttling is no failed attempt: \`error_count\` stays ${UNCOUNTED}`,
    'THROTTLE.3': criterion`Recovery is no herd: ${NO_HERD} of all connections in any second`,
  },
  faults: ['A2', 'A15', 'A16'],
  profiles: ['ci', 'full'],
  // A small group can come back at once by luck. With 120 the chance of a fifth is 1 in 1 000.
  system: (profile) => ({ connections: profile === 'ci' ? 120 : 200, eventsPerCalendar: 10, latencyMs: 20 }),
  invariants: ['I10', 'I14', 'I15', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const load = d.load(30, 16_000)
    await d.lasting(1_000)
    const asked = await vendorFault(
      d,
      { fault: 'A2', action: `429, Retry-After ${RETRY_AFTER_S}`, target: 'all', minHits: 10 },
      {
        match: { path: LISTING },
        respond: {
          status: 429,
          headers: { 'Retry-After': String(RETRY_AFTER_S) },
          reason: 'rateLimitExceeded',
        },
      },
    )
    await d.lasting(6_000)
    await asked.heal()
    const bare = await vendorFault(
      d,
      { fault: 'A2', action: '403 rateLimitExceeded', target: 'all', minHits: 3 },
      { match: { path: LISTING }, respond: { status: 403, reason: 'rateLimitExceeded' } },
    )
    await d.lasting(6_000)
    await bare.heal()
    await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const failures = recordedFailures(ledgers.audit)
      const counts = failures.map(({ new: row }) => Number(row?.['error_count'] ?? 0))
      const counted = counts.filter((count) => count > 0).length
      const [from, to] = [asked.entry.activeAt ?? 0, asked.entry.endedAt ?? 0]
      const accountOf = new Map(d.system.accounts.map((one) => [one.connectionId, one.accountId]))
      // The answer came after the call began; the row that tells of it may come much later.
      const askedAt = (connectionId: string | null, before: number) =>
        ledgers.calls.findLast(
          ({ accountId, status, start }) =>
            accountId === accountOf.get(connectionId ?? '') && status === 429 && start < before,
        )?.start ?? before
      const tooEarly = failures.filter(
        ({ at, connectionId, new: row }) =>
          at > from &&
          at < to &&
          /throttl|rate|quota/.test(JSON.stringify(row?.['last_error'])) &&
          Date.parse(String(row?.['backoff_until'])) < askedAt(connectionId, at) + RETRY_AFTER_S * 1_000,
      ).length
      const after = ledgers.calls.filter(
        ({ start, status }) => start > (bare.entry.endedAt ?? 0) && status === 200,
      )
      const firstBack = new Map<string | null, number>()
      for (const call of after.filter(isListing))
        if (!firstBack.has(call.accountId)) firstBack.set(call.accountId, call.start)
      const peak = mostWithin([...firstBack.values()], 1_000)
      const throttled = ledgers.calls.filter(({ status }) => status === 429 || status === 403).length
      return {
        criteria: {
          'THROTTLE.1': allOf(
            holds('I14'),
            met(tooEarly === 0, `${tooEarly} of ${failures.length} backoffs shorter than Retry-After`),
          ),
          'THROTTLE.2': UNCOUNTED.judge(
            Math.max(0, ...counts),
            `${failures.length} throttled units, ${counted} counted as an attempt`,
          ),
          'THROTTLE.3': noted(
            NO_HERD.judge(
              peak / d.system.accounts.length,
              `at most ${peak} of ${d.system.accounts.length} connections came back in one second`,
            ),
            `rest ${Math.round(recovered)} ms`,
          ),
        },
        witnesses: [{ name: 'throttled calls', need: 20, got: throttled }],
        numbers: { throttled, peakReturnsPerSecond: peak, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const NOT_HOT = below(60, undefined, 'fewer than')

const cursors: Drill = {
  id: 'CURSOR',
  title: 'Cursor lost in the middle of a page run; pages that fail, break off or come empty',
  report: 'vendors',
  criteria: {
    'CURSOR.1': criterion`${named(410)} in the middle of a run ends in a full resync: removals are right, nothing is deleted in between`,
    'CURSOR.2': criterion`A page that fails moves nothing of the cursor`,
    'CURSOR.3': criterion`Empty pages and pages cut short cause no hot loop: ${NOT_HOT} calls for an account in any second`,
  },
  faults: ['A7', 'A9', 'A11', 'A13'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 40, latencyMs: 30 }),
  invariants: ['I10', 'I14', 'I15', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    await d.system.vendor.admin('POST', '/admin/paging', {
      pageSizeMax: 6,
      emptyPages: true,
      shortPages: true,
    })
    const load = d.load(25, 20_000)
    await d.lasting(2_000)
    const accounts = d.system.accounts
    // The first page is given, then the token is gone, once per calendar: twice within ten minutes
    // means rest.
    const lost = await vendorFault(
      d,
      { fault: 'A7', action: '410 on a later page', target: 'half of the connections', minHits: 3 },
      ...accounts
        .filter((_, index) => index % 2 === 0)
        .map(({ accountId }) => ({
          match: { path: LISTING, accountId, hasPageToken: true, hasSyncToken: true },
          respond: { status: 410, reason: 'fullSyncRequired' },
          times: 1,
        })),
    )
    const broken = await vendorFault(
      d,
      { fault: 'A9', action: '502, HTML, truncated on later pages', target: 'the other half', minHits: 3 },
      ...accounts
        .filter((_, index) => index % 2 === 1)
        .map(({ accountId }, index) => ({
          match: { path: LISTING, accountId, hasPageToken: true },
          times: 1,
          ...[{ respond: { status: 502 } }, { html: true }, { truncate: true }][index % 3],
        })),
    )
    await d.lasting(6_000)
    await lost.heal()
    await broken.heal()
    await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const gone = ledgers.calls.filter(({ status }) => status === 410).length
      const perAccount = Map.groupBy(ledgers.calls, ({ accountId }) => accountId)
      const hottest = Math.max(
        ...[...perAccount.values()].map((calls) =>
          mostWithin(
            calls.map(({ start }) => start),
            1_000,
          ),
        ),
      )
      return {
        criteria: {
          'CURSOR.1': holds('I1', 'I3', 'I5', 'I8'),
          'CURSOR.2': holds('I6', 'I7'),
          'CURSOR.3': noted(
            NOT_HOT.judge(hottest, `at most ${hottest} calls in one second for one account`),
            `rest ${Math.round(recovered)} ms`,
          ),
        },
        witnesses: [
          { name: 'answers of 410', need: 3, got: gone },
          { name: 'failures recorded', need: 3, got: recordedFailures(ledgers.audit).length },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

/** The deadline is 30 s, and the first pause after a failure is short. */
const RETRIED_WITHIN = within(60_000)

/**
 * A calendar is gone when two looks, ten minutes apart, lack it (ADR 18). The second comes after
 * 13.
 */
const SECOND_LOOK_MS = 15 * MINUTE_MS

const hostileData: Drill = {
  id: 'DATA',
  title: 'A calendar disappears, calls hang, and event data that no schema likes',
  report: 'vendors',
  criteria: {
    'DATA.1': criterion`A calendar that is gone loses its rows with their removals told; the connection lives on`,
    'DATA.2': criterion`A hanging call ends by its own deadline and is retried ${RETRIED_WITHIN} of its beginning`,
    'DATA.3': criterion`Odd data is stored as data or quarantined; its page is not lost`,
  },
  faults: ['A3', 'A8', 'D17'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 8 : 40,
    calendars: 2,
    eventsPerCalendar: 15,
    latencyMs: 20,
    movesClock: true,
  }),
  invariants: ['I10', 'I15', 'I23'],
  without: { ...MOVED, I2: 'the drill itself writes titles that are no canaries' },
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  limits: 'The deadline of a hanging call is 30 s, so the drill meets it once.',
  async run(d) {
    const load = d.load(15, 12_000)
    const [one] = d.system.accounts
    const calendarId = encodeURIComponent(one!.calendars[0]!.id)
    // NUL and endless titles are kept in a storable form, which is no equality. Adapter tests cover
    // them.
    const titles = [
      "Robert'); drop table outbox;--",
      '\ud83d\ude00 \u202Eabc',
      '<b>&amp;',
      '{{7*7}}',
      '=cmd|calc',
    ]
    let accepted = 0
    for (const summary of titles) {
      const made = await d.system.vendor
        .admin('POST', `/admin/accounts/${one!.accountId}/calendars/${calendarId}/events`, {
          summary,
          start: { dateTime: new Date(Date.now() + 86_400_000).toISOString() },
          end: { dateTime: new Date(Date.now() + 90_000_000).toISOString() },
        })
        .then(
          () => true,
          () => false,
        )
      if (made) accepted += 1
    }
    const doomed = d.system.accounts.at(-1)!
    await d.strike({ fault: 'A8', action: 'calendar deleted', target: doomed.accountId }, async () => {
      const gone = encodeURIComponent(doomed.calendars.at(-1)!.id)
      await d.system.vendor.admin('DELETE', `/admin/accounts/${doomed.accountId}/calendars/${gone}`)
      // Deleting causes no ring; the next sync of the connection finds out.
      await d.load(3, 2_000, [doomed.accountId])
      await reconcileNow(d, [doomed])
    })
    const hanging = await vendorFault(
      d,
      { fault: 'A3', action: 'hangs', target: 'one call' },
      { match: { path: LISTING, accountId: d.system.accounts[1]!.accountId }, hang: true, times: 1 },
    )
    await load
    await hanging.heal()
    await d.until(
      'the call that hung is retried',
      async () => retriedAfterMs(await d.system.vendor.ledger<ApiCall>('requests')) < Infinity,
      RETRIED_WITHIN.limit,
    )
    await passTime(d, SECOND_LOOK_MS)
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'DATA.1': allOf(
          holds('I1', 'I5'),
          met(
            ledgers.audit.some(
              ({ table, new: row }) => table === 'external_calendars' && row?.['selected'] === false,
            ),
            'the calendar is no longer synced',
          ),
        ),
        'DATA.2': noted(retried(ledgers.calls), `rest ${Math.round(recovered)} ms later`),
        'DATA.3': allOf(holds('I1', 'I4'), met(accepted > 0, `${accepted} odd events made at the vendor`)),
      },
      witnesses: [{ name: 'odd events', need: 4, got: accepted }],
      numbers: { nonce: randomBytes(1)[0] ?? 0 },
    })
  },
}

/** From the call that got no answer at all to the next one for its calendar that got one. */
function retriedAfterMs(calls: readonly ApiCall[]): number {
  const listings = calls.filter(isListing)
  const hung = listings.find(({ status, faultId }) => status === 0 && faultId !== undefined)
  if (!hung) return Infinity
  const next = listings.filter(
    ({ accountId, calendarId, start, status }) =>
      accountId === hung.accountId && calendarId === hung.calendarId && start > hung.start && status === 200,
  )
  return Math.min(...next.map(({ start }) => start)) - hung.start
}

function retried(calls: readonly ApiCall[]): Finding {
  const ms = retriedAfterMs(calls)
  return RETRIED_WITHIN.judge(ms, `asked again ${Math.round(ms)} ms after the call that hung`)
}

export const VENDORS: readonly Drill[] = [throttling, cursors, grants, hostileData]
