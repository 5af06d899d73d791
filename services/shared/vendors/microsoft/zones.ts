// Windows' names of time zones become IANA names, and wall clock times become instants. Graph names
// zones as Windows does, or by a subset of the IANA names, and gives times without an offset. A
// name that neither knows is null, never a guess.
// Source: CLDR windowsZones (unicode.org/reports/tr35/tr35-dates.html#supplemental-time-zone-data)
// and the ICU of this Node.
import windowsZones from 'cldr-core/supplemental/windowsZones.json' with { type: 'json' }
import { Temporal } from 'temporal-polyfill'
import type { Micros } from '#shared/domain/ids.ts'
import { clampMicros, parseInstant, ZONE_MAX } from '../storable.ts'

/** Only an abuser has more distinct names than this. */
const KNOWN_MAX = 2000
const UTC = 'UTC'
const LOCAL_TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?$/

const windowsNames = new Map(
  windowsZones.supplemental.windowsZones.mapTimezones
    // 001 is the zone for people of whom nothing else is known.
    .filter(({ mapZone }) => mapZone._territory === '001')
    .map(({ mapZone }) => [mapZone._other.toLowerCase(), mapZone._type]),
)
/**
 * Names that Windows dropped, or shows in other places than its table,
 * and that mailboxes have kept.
 */
const OTHER_NAMES = new Map([
  ['kamchatka standard time', 'Asia/Kamchatka'],
  ['mid-atlantic standard time', 'Atlantic/South_Georgia'],
  ['türkiye standard time', 'Europe/Istanbul'],
  ['mexico standard time', 'America/Mexico_City'],
  ['mexico standard time 2', 'America/Chihuahua'],
  ['armenian standard time', 'Asia/Yerevan'],
  ['coordinated universal time', UTC],
  ['tzone://microsoft/utc', UTC],
])
/** Zones of ICU by the name of their city: what the display names of Windows list. */
const zonesByCity = new Map(
  Intl.supportedValuesOf('timeZone').map((zone) => [cityOf(zone.slice(zone.lastIndexOf('/') + 1)), zone]),
)
/** "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna" */
const DISPLAY_NAME = /^\((?:UTC|GMT)(?:([+-])(\d\d):(\d\d))?\)\s*(.*)$/i
const known = new Map<string, string | null>()

/**
 * The IANA name of a zone, in ICU's canonical form; null if neither Windows nor IANA knows it
 * (custom zones of Outlook).
 */
export function ianaZoneOf(name: string): string | null {
  // A name of a megabyte would be kept.
  if (name.length > ZONE_MAX) return null
  const cached = known.get(name)
  if (cached !== undefined) return cached
  const zone = find(name.trim())
  if (known.size < KNOWN_MAX) known.set(name, zone)
  return zone
}

/**
 * Wall clock time in a zone → whole microseconds since 1970, at the edge of the exact range
 * if outside; null if it is no time or the zone is unknown. A time that the clock skips is
 * read as if the clock had not been put forward, a time that comes twice as the first one,
 * as RFC 5545 §3.3.5 has it.
 */
export function instantIn(local: string, zone: string): Micros | null {
  if (!LOCAL_TIME.test(local)) return parseInstant(local)
  const iana = ianaZoneOf(zone)
  if (iana === null) return null
  const utc = parseInstant(`${local}Z`)
  if (iana === UTC || utc === null) return utc
  const { epochNanoseconds } = Temporal.PlainDateTime.from(local).toZonedDateTime(iana, {
    disambiguation: 'compatible',
  })
  return clampMicros(Number(epochNanoseconds / 1000n))
}

/** The date on the wall in a zone at an instant, or null if the zone is unknown. */
export function dateIn(at: Micros, zone: string): string | null {
  const iana = ianaZoneOf(zone)
  if (iana === null) return null
  return Temporal.Instant.fromEpochMilliseconds(Math.floor(at / 1000))
    .toZonedDateTimeISO(iana)
    .toPlainDate()
    .toString()
}

function find(name: string): string | null {
  const lower = name.toLowerCase()
  const told = windowsNames.get(lower) ?? OTHER_NAMES.get(lower)
  if (told !== undefined) return canonical(told)
  const display = DISPLAY_NAME.exec(name)
  if (display) return zoneShownAs(display)
  // Outlook numbers a zone that it keeps a second time.
  const numbered = /^(.+) \d{1,2}$/.exec(lower)?.[1]
  const once = numbered === undefined ? undefined : windowsNames.get(numbered)
  return canonical(once ?? name)
}

/**
 * The zone of one of the cities that a display name lists,
 * else of its "Pacific Time", else its offset.
 */
function zoneShownAs([, sign, hours = '00', minutes = '00', places = '']: RegExpExecArray): string | null {
  const offset = sign === undefined ? '+00:00' : `${sign}${hours}:${minutes}`
  const listed = places.split(',').flatMap((place) => zonesByCity.get(cityOf(place)) ?? [])
  const here = listed.find((zone) => hasOffset(zone, offset))
  if (here !== undefined) return canonical(here)
  const [time = ''] = places.toLowerCase().split(' (')
  const windows = windowsNames.get(time.replace(/ time$/, ' standard time'))
  if (windows !== undefined) return canonical(windows)
  return offset === '+00:00' ? UTC : offsetZone(offset)
}

function cityOf(text: string): string {
  return text.trim().toLowerCase().replaceAll(/[ _]+/g, ' ')
}

/** In either half of some year: display names tell the offset of the winter. */
function hasOffset(zone: string, offset: string): boolean {
  return [0, 6].some((month) => {
    const at = Temporal.Instant.fromEpochMilliseconds(Date.UTC(2025, month, 15))
    return at.toZonedDateTimeISO(zone).offset === offset
  })
}

/** An offset as a zone, which Temporal and ICU both take; null beyond those that people live at. */
export function offsetZone(offset: string): string | null {
  const [, hours = '99', minutes = '99'] = /^[+-](\d\d):(\d\d)$/.exec(offset) ?? []
  return Number(hours) <= 14 && Number(minutes) < 60 ? offset : null
}

function canonical(name: string): string | null {
  // ICU takes offsets such as +01:00 for zones too; those are no names.
  if (!/^[A-Za-z][\w+/-]{1,63}$/.test(name)) return null
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone
  } catch {
    return null
  }
}
