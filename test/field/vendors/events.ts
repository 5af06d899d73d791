// Raw events as both vendors send them, with times counted from a day that the case begins on.
import type { Item } from './google.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Makes raw events of one case. Day 0 is the UTC day on which the case begins. */
export class EventMaker {
  readonly #day0: number
  #made = 0

  /** `now` in ms since 1970. */
  constructor(now: number) {
    this.#day0 = Math.floor(now / DAY_MS) * DAY_MS
  }

  /** ms since 1970 of an hour of a day, UTC. */
  at(day: number, hour = 0): number {
    return this.#day0 + day * DAY_MS + hour * HOUR_MS
  }

  /** `2026-11-29` of a day. */
  date(day: number): string {
    return new Date(this.at(day)).toISOString().slice(0, 10)
  }

  /** `+1 09:00-10:00`: a span of busy time as a case tells it. */
  told({ start, end }: { readonly start: string; readonly end: string }): string {
    const day = Math.floor((Date.parse(start) - this.#day0) / DAY_MS)
    return `+${day} ${clock(start)}-${clock(end)}`
  }

  /** What `told` says of an hour. */
  hour(day: number, hour: number): string {
    const [start, end] = [hour, hour + 1].map((one) => new Date(this.at(day, one)).toISOString())
    return this.told({ start: start!, end: end! })
  }

  /**
   * An event of Google that lasts an hour.
   * developers.google.com/workspace/calendar/api/v3/reference/events
   */
  google(id: string, day: number, hour: number, more: Item = {}): Item {
    return {
      ...this.#googleEvent(id),
      start: { dateTime: rfc(this.at(day, hour)), timeZone: 'UTC' },
      end: { dateTime: rfc(this.at(day, hour + 1)), timeZone: 'UTC' },
      ...more,
    }
  }

  /** An event of Google that lasts a whole day. */
  googleDay(id: string, day: number, more: Item = {}): Item {
    const times = { start: { date: this.date(day) }, end: { date: this.date(day + 1) } }
    return { ...this.#googleEvent(id), ...times, ...more }
  }

  /** One occurrence of a series of Google; its id names the series and the time. */
  googleOccurrence(series: string, day: number, hour: number, more: Item = {}): Item {
    const time = rfc(this.at(day, hour))
    return this.google(`${series}_${time.replaceAll(/[-:]/g, '')}`, day, hour, {
      recurringEventId: series,
      originalStartTime: { dateTime: time, timeZone: 'UTC' },
      summary: series,
      ...more,
    })
  }

  /** An event of Graph that lasts an hour. learn.microsoft.com/graph/api/resources/event */
  graph(id: string, day: number, hour: number, more: Item = {}): Item {
    return {
      ...this.#graphEvent(id),
      isAllDay: false,
      start: graphTime(this.at(day, hour)),
      end: graphTime(this.at(day, hour + 1)),
      ...more,
    }
  }

  /**
   * A whole day of Graph as its list calls tell it under `outlook.timezone="UTC"`: midnight
   * to midnight, in no zone.
   */
  graphDay(id: string, day: number, zone: string, more: Item = {}): Item {
    return {
      ...this.#graphEvent(id),
      isAllDay: true,
      start: graphTime(this.at(day)),
      end: graphTime(this.at(day + 1)),
      originalStartTimeZone: zone,
      originalEndTimeZone: zone,
      ...more,
    }
  }

  #googleEvent(id: string): Item {
    this.#made += 1
    return {
      kind: 'calendar#event',
      etag: `"${3_400_000_000_000_000 + this.#made}"`,
      id,
      status: 'confirmed',
      created: rfc(this.at(-9)),
      updated: new Date(this.at(-8) + this.#made).toISOString(),
      summary: id,
      creator: { email: 'boss@example.com' },
      organizer: { email: 'boss@example.com' },
      iCalUID: `${id}@google.com`,
      sequence: 0,
      eventType: 'default',
    }
  }

  #graphEvent(id: string): Item {
    this.#made += 1
    return {
      '@odata.etag': `W/"${id}/${this.#made}"`,
      id,
      type: 'singleInstance',
      subject: id,
      isCancelled: false,
      showAs: 'busy',
      sensitivity: 'normal',
      responseStatus: { response: 'organizer', time: '0001-01-01T00:00:00Z' },
      originalStartTimeZone: 'UTC',
      originalEndTimeZone: 'UTC',
      createdDateTime: new Date(this.at(-9)).toISOString(),
      lastModifiedDateTime: new Date(this.at(-8) + this.#made).toISOString(),
      seriesMasterId: null,
    }
  }
}

/** A time as Graph tells it: seven digits, the zone beside it. */
export function graphTime(ms: number, timeZone = 'UTC'): Item {
  return { dateTime: `${new Date(ms).toISOString().slice(0, 19)}.0000000`, timeZone }
}

function rfc(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}

function clock(iso: string): string {
  return iso.slice(11, 16)
}
