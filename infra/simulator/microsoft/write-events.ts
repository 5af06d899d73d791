// Events, written: learn.microsoft.com/graph/api/calendar-post-events, …/event-update,
// …/event-delete. PATCH alone changes; a change key that is not the current one is 412, and a 412
// may come for no reason at all. A move takes an event to another calendar of the mailbox.
import { type Answer, type Call, readObject } from '../http.ts'
import type { Random } from '../random.ts'
import type { Calendar } from '../world/calendar.ts'
import {
  deleteEvent,
  fieldsOf,
  findEvent,
  insertEvent,
  moveEvent as move,
  replaceEvent,
  type Target,
} from '../world/edit.ts'
import { graphError } from './errors.ts'
import { graphEtag, type Preferences } from './event-shape.ts'
import { docOf, type EventDeps, show, shown } from './events.ts'
import { fieldsFrom } from './fields.ts'
import type { Located } from './locate.ts'

export interface WriteDeps extends EventDeps {
  readonly random: Random
  /** Transaction ids of creations → event id, by calendar. */
  readonly transactions: Map<string, string>
}

const TRANSACTIONS_MAX = 10_000

/** POST …/events. A transaction id that was used before creates nothing more. */
export function createEvent(deps: WriteDeps, calendar: Calendar, call: Call, prefer: Preferences): Answer {
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const transaction =
    typeof body['transactionId'] === 'string' ? `${calendar.id}/${body['transactionId']}` : null
  const known = findEvent(calendar, deps.transactions.get(transaction ?? '') ?? '')
  if (known) {
    if (deps.knobs.microsoft.duplicateTransaction === 'conflict')
      return graphError('ErrorDuplicateTransactionId')
    return shown(show(calendar, known, prefer), prefer, 201)
  }
  const read = fieldsFrom(body, {}, calendar)
  if ('problem' in read) return read.problem
  const { eventId } = insertEvent(deps.world, calendar, read.fields)
  if (transaction !== null) keepTransaction(deps.transactions, transaction, eventId)
  return answerWith(calendar, eventId, prefer, 201)
}

/** PATCH …/events/{id}: what is not named stays. */
export function updateEvent(deps: WriteDeps, located: Located, call: Call, prefer: Preferences): Answer {
  const { calendar, target } = located
  if (conflicts(deps, target, call)) return graphError('ErrorIrresolvableConflict')
  const body = readObject(call.body)
  if (!body) return graphError('RequestBodyRead')
  const read = fieldsFrom(body, fieldsOf(calendar, target), calendar)
  if ('problem' in read) return read.problem
  const { eventId } = replaceEvent(deps.world, calendar, target, read.fields)
  return answerWith(calendar, eventId, prefer, 200)
}

/** DELETE …/events/{id} */
export function removeEvent(deps: WriteDeps, { calendar, target }: Located, call: Call): Answer {
  if (conflicts(deps, target, call)) return graphError('ErrorIrresolvableConflict')
  deleteEvent(deps.world, calendar, target)
  return { status: 204 }
}

/**
 * POST …/events/{id}/move {"destinationId"}: the event goes on in the other calendar. Its mutable
 * id names that folder from now on; its immutable id stays.
 */
export function moveEvent(
  deps: WriteDeps,
  { calendar, target }: Located,
  call: Call,
  prefer: Preferences,
): Answer {
  const destination = readObject(call.body)?.['destinationId']
  const to =
    typeof destination === 'string' ? deps.world.calendar(calendar.accountId, destination) : undefined
  if (!to) return graphError('ErrorItemNotFound')
  if (!mayWrite(to)) return graphError('ErrorAccessDenied')
  if (target.kind === 'occurrence' || target.doc.masterId !== null || to === calendar)
    return graphError('ErrorInvalidParameter')
  move(deps.world, calendar, to, target.doc)
  return answerWith(to, target.doc.id, prefer, 201)
}

/** Whether the person may change what is in the calendar. */
export function mayWrite(calendar: Calendar): boolean {
  return calendar.accessRole === 'owner' || calendar.accessRole.startsWith('writer')
}

function answerWith(calendar: Calendar, id: string, prefer: Preferences, status: number): Answer {
  const target = findEvent(calendar, id)
  return target ? shown(show(calendar, target, prefer), prefer, status) : graphError('ErrorItemNotFound')
}

function keepTransaction(transactions: Map<string, string>, transaction: string, eventId: string): void {
  transactions.set(transaction, eventId)
  const [oldest] = transactions.keys()
  if (transactions.size > TRANSACTIONS_MAX && oldest !== undefined) transactions.delete(oldest)
}

function conflicts({ knobs, random }: WriteDeps, target: Target, call: Call): boolean {
  const wanted = call.headers['if-match']
  const stale = wanted !== undefined && wanted !== '*' && wanted !== graphEtag(docOf(target))
  const { spontaneousConflict } = knobs.microsoft
  // Drawn only when it can happen, so that the knob alone decides what the
  // seed's numbers are spent on.
  return stale || (spontaneousConflict > 0 && random.chance(spontaneousConflict))
}
