// DISCONNECT: people take their consent back while their calendars change and their units run.
// Nothing of theirs may remain. No other account may notice.
import { allOf, criterion, met, noted } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { DrillFailed } from '../drill.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import { providerToken } from '../environment/tokens.ts'
import { killAndAwait } from '../faults/processes.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { between } from '../random.ts'
import { askForSync, slowPages } from './asking.ts'
import { steadyLoad } from './background.ts'

const ERASED_WITHIN_MS = 60_000

const disconnecting: Drill = {
  id: 'DISCONNECT',
  title: 'Accounts are disconnected under load, in the middle of their units',
  report: 'vendors',
  criteria: {
    'DISCONNECT.1': criterion`No event row, channel, calendar, credentials or name of them is left here, and no channel at the vendor`,
    'DISCONNECT.2': criterion`The vendor is not asked for them any more`,
    'DISCONNECT.3': criterion`Every removal is published, and so is the end of the connection`,
    'DISCONNECT.4': criterion`The others go on`,
  },
  faults: ['A5', 'P2'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 14 : 60,
    microsoft: profile === 'ci' ? 4 : 20,
    eventsPerCalendar: 30,
    latencyMs: 30,
  }),
  invariants: ['I10', 'I15', 'I16', 'I17', 'I25', 'I26'],
  wallMs: 300_000,
  recoverWithinMs: 60_000,
  limits:
    'The vendor takes every grant back at once; one that does not is met by test/integration/scheduler/scheduler-erasure.',
  async run(d) {
    const leaving = d.system.accounts.filter((_, index) => index % 2 === 0)
    const count = leaving.length
    const calm = steadyLoad(d, 25)
    await slowPages(d, 5, 120)
    await d.lasting(1_000)
    let inUnits = 0
    for (const [index, account] of leaving.entries()) {
      // A unit of many pages is under way; its consumer dies under every fifth.
      await d.system.vendor.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
      await askForSync(d, account.providerId, 'ring just before the end')
      const isUnderWay = await unitUnderWay(d, account)
      await d.lasting(between(d.random, 0, 300))
      await disconnect(d, account)
      if (isUnderWay) inUnits += 1
      if (index % 5 === 4) await killAndAwait(d, 'P2', d.system.one('sync'))
    }
    await d.until('everything of them is erased', () => nothingLeft(d, leaving), ERASED_WITHIN_MS)
    const watched = await watchedAtVendor(d, leaving)
    const again = await d.request(await deletion(d, leaving[0]!))
    await calm()
    const recovered = await d.converged(60_000)
    return ({ ledgers, holds }) => {
      const told = ledgersOf(ledgers, leaving)
      return {
        criteria: {
          'DISCONNECT.1': allOf(
            holds('I25'),
            met(watched === 0, `${watched} channels of them open at the vendor`),
          ),
          'DISCONNECT.2': holds('I25'),
          'DISCONNECT.3': allOf(
            met(
              told.removals > 0 && told.ended === leaving.length,
              `${told.removals} removals with the reason "disconnected"; ${told.ended} of ${leaving.length} ends told`,
            ),
            holds('I4', 'I25'),
          ),
          'DISCONNECT.4': allOf(
            holds('I1', 'I26'),
            noted(
              met(again.status === 204, `a second disconnect was answered ${again.status}`),
              `rest ${Math.round(recovered)} ms after the load`,
            ),
          ),
        },
        witnesses: [
          { name: 'accounts disconnected', need: count, got: leaving.length },
          { name: 'of them between two pages of a unit', need: Math.ceil(count / 2), got: inUnits },
          { name: 'removals published', need: count * 10, got: told.removals },
        ],
        numbers: { disconnected: leaving.length, removals: told.removals },
      }
    }
  },
}

async function deletion(d: DrillRun, { providerId, connectionId }: ConnectedAccount) {
  const token = await providerToken(d.system, providerId)
  const headers = { authorization: `Bearer ${token}` }
  return { what: 'disconnect', method: 'DELETE', path: `/api/calendar/connections/${connectionId}`, headers }
}

async function disconnect(d: DrillRun, account: ConnectedAccount): Promise<void> {
  const request = await deletion(d, account)
  await d.strike({ fault: 'A5', action: 'disconnect', target: account.connectionId }, async () => {
    const { status, body } = await d.request(request)
    if (status !== 204) throw new DrillFailed(`a disconnect was answered ${status}: ${body.slice(0, 200)}`)
  })
}

async function nothingLeft({ system }: DrillRun, accounts: readonly ConnectedAccount[]): Promise<boolean> {
  const [rows] = await system.ask<{ left: number }>(
    `select ((select count(*) from external_calendar_events where connection_id = any($1::uuid[]))
           + (select count(*) from channels where connection_id = any($1::uuid[]))
           + (select count(*) from external_calendars where connection_id = any($1::uuid[]))
           + (select count(*) from external_calendar_connections
               where id = any($1::uuid[]) and coalesce(account_label, vendor_account_id) is not null)
           + (select count(*) from connection_credentials where connection_id = any($1::uuid[])))::int as left`,
    [accounts.map(({ connectionId }) => connectionId)],
  )
  return rows?.left === 0
}

async function watchedAtVendor({ system }: DrillRun, accounts: readonly ConnectedAccount[]): Promise<number> {
  const { vendor } = system
  const { channels } = await vendor.admin<{ channels: Watched[] }>('GET', '/admin/channels')
  const { subscriptions } = await vendor.admin<{ subscriptions: Watched[] }>('GET', '/admin/subscriptions')
  const open = [...channels, ...subscriptions]
  return open.filter(({ accountId }) => accounts.some((one) => one.accountId === accountId)).length
}

interface Watched {
  readonly accountId: string
}

/** Waits for a run with some pages stored and others still to come. False when none is seen. */
async function unitUnderWay(d: DrillRun, { connectionId }: ConnectedAccount): Promise<boolean> {
  const seen = d.until(
    'a unit is between its pages',
    async () => {
      const rows = await d.system.ask(
        'select from external_calendars where connection_id = $1 and checkpoint is not null',
        [connectionId],
      )
      return rows.length > 0
    },
    15_000,
  )
  return seen.then(
    () => true,
    () => false,
  )
}

function ledgersOf({ topics }: Ledgers, accounts: readonly ConnectedAccount[]) {
  const own = new Set(accounts.map(({ connectionId }) => connectionId))
  const changed = topics.get('calendar.event.changed.v1') ?? []
  const ends = topics.get('calendar.connection.changed.v1') ?? []
  return {
    removals: changed.filter(({ key, message }) => own.has(key) && message?.removalReason === 'disconnected')
      .length,
    ended: new Set(
      ends
        .filter(({ message }) => (message as { status?: string } | null)?.status === 'disconnected')
        .map(({ key }) => key)
        .filter((key) => own.has(key)),
    ).size,
  }
}

export const DISCONNECTING: readonly Drill[] = [disconnecting]
