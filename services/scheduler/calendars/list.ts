// The list of calendars of every connection is compared with the vendor's once an hour: new ones
// are synced, vanished ones removed, and one whose access changed is read anew. Invariant: what
// changed and the ring that brings a unit there are one transaction; a unit of before cannot write
// a cursor that was taken away.
import { asFailure, Failure } from '#shared/domain/failure.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import {
  heldCalendars,
  listableConnections,
  markListed,
  putOffListing,
  saveCalendarList,
} from '#shared/store/calendar-list.ts'
import { relabel } from '#shared/store/connect.ts'
import { advanceConnection, lockConnection } from '#shared/store/disconnect.ts'
import type { DueConnection } from '#shared/store/due.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { compareCalendars, MISSING_SECONDS, type Comparison } from './compare.ts'
import { boundedEach } from '../bounded-each.ts'
import type { JobDeps } from '../deps.ts'
import { allowedRows, type Paging } from '../paging.ts'
import { mayRing, ring, ringOf } from '../rings/doorbell.ts'
import { settleJob } from '../settle-job.ts'

const EVERY_SECONDS = 3600
const LIMITS = { atOnce: 4, withinMs: 8000 }
/** After a failure: at least this, at most twice as much, and never before the vendor allows it. */
const AGAIN_MS = 5 * 60_000

type ListDeps = Omit<JobDeps, 'keys' | 'credentialKeys' | 'publicUrl'>

const LISTABLE: Paging<DueConnection, 'connectionId'> = {
  read: listableConnections,
  by: 'connectionId',
  pageSize: 500,
  perRun: 200,
}

/**
 * One run.
 * @returns how many lists changed. Throws Failure `store/*` or `kafka/*`;
 * what was not compared stays due.
 */
export async function listCalendars(deps: ListDeps, signal: AbortSignal): Promise<number> {
  const mayList = (one: DueConnection) => deps.mailboxes.vendors.has(one.vendor) && mayRing(deps.gates, one)
  const listable = await allowedRows(deps, LISTABLE, mayList, signal)
  return boundedEach(listable, { ...LIMITS, signal }, (connection) => compareOne(deps, connection, signal))
}

async function compareOne(deps: ListDeps, connection: DueConnection, signal: AbortSignal): Promise<boolean> {
  if (!deps.mailboxes.vendors.has(connection.vendor) || !mayRing(deps.gates, connection)) return false
  try {
    const listed = await deps.mailboxes.of(connection).listCalendars(signal)
    // Every account has one of its own, so this is a fault of the answer.
    if (listed.length === 0)
      throw new Failure('vendor/unreadable-answer', 'The vendor lists no calendar at all.')
    await keepLabel(deps, connection, listed)
    return await store(deps, connection, listed)
  } catch (error) {
    if (signal.aborted) return false
    await putOff(deps, connection, asFailure(error))
    return false
  }
}

/** Google names the primary calendar by the address of the account, which people change. */
async function keepLabel(
  { db }: ListDeps,
  { connectionId, vendor }: DueConnection,
  listed: readonly VendorCalendar[],
): Promise<void> {
  const own = vendor === 'google' ? listed.find(({ primary }) => primary) : undefined
  if (own?.vendorCalendarId.includes('@') === true) await relabel(db, connectionId, own.vendorCalendarId)
}

async function store(
  deps: ListDeps,
  connection: DueConnection,
  listed: readonly VendorCalendar[],
): Promise<boolean> {
  const { connectionId } = connection
  const first = compareCalendars(await heldCalendars(deps.db, connectionId), listed)
  // A little more than the time after which a second look may decide,
  // also at the early end of ± 20 %.
  const nextIn = ({ isUndecided }: Comparison) => (isUndecided ? MISSING_SECONDS * 1.3 : EVERY_SECONDS)
  if (first.isEmpty) {
    await markListed(deps.db, connectionId, nextIn(first))
    return false
  }
  return deps.db.transaction(async (tx) => {
    const locked = await lockConnection(tx, null, connectionId)
    if (locked?.status !== 'active') return false
    // Compared anew under the lock: a person may have chosen otherwise meanwhile.
    const change = compareCalendars(await heldCalendars(tx, connectionId), listed)
    await saveCalendarList(tx, connectionId, change)
    if (change.reread.length > 0) await advanceConnection(tx, connectionId, 0)
    if (change.isWork) {
      const origin = sentBy('scheduler', deps.codec)
      await insertOutbox(tx, [syncRequested(connection, { reason: 'reconcile', at: locked.now }, origin)])
    }
    await markListed(tx, connectionId, nextIn(change))
    return true
  })
}

async function putOff(deps: ListDeps, connection: DueConnection, failure: Failure): Promise<void> {
  const settled = settleJob(failure)
  const { connectionId } = connection
  deps.logger.info(
    { code: failure.code, connectionId },
    'a list of calendars could not be compared; tried again',
  )
  const floorMs = failure.retryAt === undefined ? 0 : (failure.retryAt - deps.clock.now()) / 1000
  await putOffListing(deps.db, connectionId, Math.max(floorMs, AGAIN_MS) * (1 + Math.random()))
  // That nobody is let in any more is for a unit to find out and to record.
  if (settled === 'locked-out') await ring(deps, 'reconcile', [ringOf(connection)])
}
