// The list of calendars of every connection is compared with the vendor's once an hour: new ones
// are synced, vanished ones removed, and one whose access changed is read anew. Invariant: what
// changed and the sync request for it are one transaction; a unit of before cannot write a cursor
// that was taken away.
import { floorMs } from '#shared/domain/backoff.ts'
import { asFailure, Failure } from '#shared/domain/failure.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import {
  storedCalendars,
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
import { mayAsk, ring } from '../ringing/ring.ts'
import { settleJob } from '../settle-job.ts'

const EVERY_SECONDS = 3600
/** After a failure: at least this, at most twice as much, and never before the vendor allows it. */
const AGAIN_MS = 5 * 60_000

const LISTABLE: Paging<DueConnection, 'connectionId'> = {
  read: listableConnections,
  by: 'connectionId',
  pageSize: 500,
  perRun: 200,
}

/** One run. @returns how many lists changed. Throws Failure `store/*` or `kafka/*`. */
export async function listCalendars(deps: JobDeps, signal: AbortSignal): Promise<number> {
  const listable = await allowedRows(deps, LISTABLE, (connection) => mayAsk(deps, connection), signal)
  return boundedEach(listable, { signal }, (connection) => compareOne(deps, connection, signal))
}

async function compareOne(deps: JobDeps, connection: DueConnection, signal: AbortSignal): Promise<boolean> {
  if (!mayAsk(deps, connection)) return false
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
  { db }: JobDeps,
  { connectionId, vendor }: DueConnection,
  listed: readonly VendorCalendar[],
): Promise<void> {
  const own = vendor === 'google' ? listed.find(({ primary }) => primary) : undefined
  if (own?.vendorCalendarId.includes('@') === true) await relabel(db, connectionId, own.vendorCalendarId)
}

async function store(
  deps: JobDeps,
  connection: DueConnection,
  listed: readonly VendorCalendar[],
): Promise<boolean> {
  const { connectionId } = connection
  const first = compareCalendars(await storedCalendars(deps.db, connectionId), listed)
  // More than the time after which a second look may decide, also at the early end of ± 20 %.
  const nextIn = ({ isUndecided }: Comparison) => (isUndecided ? MISSING_SECONDS * 1.3 : EVERY_SECONDS)
  if (first.isEmpty) {
    await markListed(deps.db, connectionId, nextIn(first))
    return false
  }
  return deps.db.transaction(async (tx) => {
    const locked = await lockConnection(tx, null, connectionId)
    if (locked?.status !== 'active') return false
    // Compared anew under the lock: a person may have chosen otherwise meanwhile.
    const change = compareCalendars(await storedCalendars(tx, connectionId), listed)
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

async function putOff(deps: JobDeps, connection: DueConnection, failure: Failure): Promise<void> {
  const settled = settleJob(failure)
  const { connectionId } = connection
  deps.logger.info(
    { code: failure.code, connectionId },
    'a list of calendars could not be compared; tried again',
  )
  const waitMs = Math.max(AGAIN_MS, floorMs(failure, deps.clock.now())) * (1 + Math.random())
  await putOffListing(deps.db, connectionId, waitMs)
  // A unit is to find out and record that the account lets us in no more.
  if (settled === 'locked-out') await ring(deps, 'reconcile', [connection])
}
