// Generated content: events like people's (timed, all-day, recurring) within the window that a
// sync engine holds, and changes to them. Everything is drawn from the given Random, so a seed
// gives the same calendars again.
import type { Calendar } from './calendar.ts'
import { deleteEvent, fieldsOf, findEvent, insertEvent, replaceEvent, type Target } from './edit.ts'
import { type Fields, isSeries, occurrenceId, seriesStarts } from './event-doc.ts'
import type { Change } from './commit.ts'
import type { Random } from '../random.ts'
import { formatIn } from './zones.ts'
import type { World } from './world.ts'

const DAY_MS = 86_400_000
/**
 * Days around now that generated events fall into: five days inside the window of −30 … +365, which
 * moves on while a run lasts.
 */
const FIRST_DAY = -25
const LAST_DAY = 350
const PLACES = ['Room 4', 'Studio', 'Call', 'Front desk', 'Garden', 'Lab 2', 'Kantine Süd', '会議室']
const NOTES = ['Bring the plan.', 'Second visit.', 'Short one.', 'With the whole team.', 'Was moved twice.']

export interface Mix {
  readonly create: number
  readonly update: number
  readonly delete: number
}

/** The fields of a new event: of 100 about 80 timed, 12 all-day and 8 recurring. */
export function generateFields(random: Random, calendar: Calendar, now: number): Fields {
  const kind = random.next()
  const day = Math.floor(now / DAY_MS) + FIRST_DAY + random.below(LAST_DAY - FIRST_DAY)
  const base = {
    location: pick(random, PLACES),
    description: `${pick(random, NOTES)} ${random.below(1_000_000)}`,
    ...(random.chance(0.15) ? { transparency: 'transparent' } : {}),
    ...(random.chance(0.1) ? { status: 'tentative' } : {}),
  }
  if (kind < 0.12) {
    const end = (day + 1 + random.below(3)) * DAY_MS
    return { ...base, start: { date: isoDate(day * DAY_MS) }, end: { date: isoDate(end) } }
  }
  const start = day * DAY_MS + (6 + random.below(12)) * 3_600_000 + random.below(4) * 900_000
  const times = timed(calendar, start, start + (1 + random.below(8)) * 900_000)
  return kind < 0.2 ? { ...base, ...times, recurrence: [generateRule(random)] } : { ...base, ...times }
}

/** Commits one random change to a calendar; null when there was nothing to change. */
export function changeSomething(world: World, calendar: Calendar, random: Random, mix: Mix): Change | null {
  const total = mix.create + mix.update + mix.delete
  const draw = random.next() * total
  if (draw < mix.create) return insertEvent(world, calendar, generateFields(random, calendar, world.now()))
  const target = pickEvent(calendar, random)
  if (!target) return null
  if (draw < mix.create + mix.update) return mutate(world, calendar, target, random)
  return deleteEvent(world, calendar, target)
}

/** Commits a generated change of one event: other notes, another place, or another time. */
export function mutate(world: World, calendar: Calendar, target: Target, random: Random): Change {
  return replaceEvent(world, calendar, target, mutateFields(random, calendar, fieldsOf(calendar, target)))
}

function mutateFields(random: Random, calendar: Calendar, fields: Fields): Fields {
  const noted = { ...fields, description: `${pick(random, NOTES)} ${random.below(1_000_000)}` }
  const choice = random.next()
  if (choice < 0.4) return noted
  if (choice < 0.6) return { ...noted, location: pick(random, PLACES) }
  const start = fields['start'] as { dateTime?: string } | undefined
  const end = fields['end'] as { dateTime?: string } | undefined
  if (!start?.dateTime || !end?.dateTime) return noted
  const shift = (1 + random.below(4)) * 900_000 * (random.chance(0.5) ? 1 : -1)
  return {
    ...noted,
    ...timed(calendar, Date.parse(start.dateTime) + shift, Date.parse(end.dateTime) + shift),
  }
}

/** A live event; of a series mostly one occurrence, as people do. */
function pickEvent(calendar: Calendar, random: Random): Target | undefined {
  const { ids } = calendar.alive
  const doc = calendar.docs.get(ids[random.below(ids.length)] ?? '')
  if (!doc) return undefined
  const starts = isSeries(doc) && random.chance(0.7) ? seriesStarts(doc) : []
  const start = starts[random.below(starts.length)]
  if (start === undefined) return { kind: 'document', doc }
  const occurrence = findEvent(calendar, occurrenceId(doc.id, start, doc.times?.allDay ?? false))
  const cancelled = occurrence?.kind === 'document' && occurrence.doc.deleted
  return cancelled ? { kind: 'document', doc } : occurrence
}

function generateRule(random: Random): string {
  const choice = random.next()
  if (choice < 0.35) return `RRULE:FREQ=DAILY;COUNT=${3 + random.below(6)}`
  if (choice < 0.9) return `RRULE:FREQ=WEEKLY;INTERVAL=${1 + random.below(2)};COUNT=${4 + random.below(7)}`
  if (choice < 0.97) return `RRULE:FREQ=WEEKLY;BYDAY=TU,TH;COUNT=${6 + random.below(6)}`
  return 'RRULE:FREQ=WEEKLY'
}

function timed(calendar: Calendar, start: number, end: number): Fields {
  const at = (instant: number) => ({
    dateTime: formatIn(calendar.timeZone, instant),
    timeZone: calendar.timeZone,
  })
  return { start: at(start), end: at(end) }
}

function isoDate(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

function pick<T>(random: Random, from: readonly T[]): T {
  const chosen = from[random.below(from.length)]
  if (chosen === undefined) throw new Error('There is nothing to pick from.')
  return chosen
}
