// Accounts on demand: an account with its calendars, seeded with generated events.
import { digest, createRandom } from '../random.ts'
import { insertEvent } from '../world/edit.ts'
import { generateClaim } from '../world/generate-claims.ts'
import { generateFields } from '../world/generate.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account, VendorName } from '../world/entries.ts'
import type { World } from '../world/world.ts'

export interface CalendarSpec {
  readonly id?: string | undefined
  readonly name?: string | undefined
  readonly primary?: boolean | undefined
  readonly accessRole?: string | undefined
  readonly pushSupported?: boolean | undefined
  readonly timeZone?: string | undefined
}

export interface AccountSpec {
  /** google unless it says otherwise. */
  readonly vendor?: VendorName | undefined
  readonly email?: string | undefined
  readonly scope?: string | undefined
  readonly calendars?: number | readonly CalendarSpec[] | undefined
  readonly eventsPerCalendar?: number | undefined
  /**
   * Of every answer, kind, show-as and zone, in the next 50 days, instead of events like people's.
   */
  readonly claims?: boolean | undefined
}

const DAY_MS = 86_400_000
const CLAIM_DAYS = 50
const ZONES = ['Europe/Berlin', 'America/New_York', 'UTC', 'Asia/Tokyo', 'Australia/Sydney']

/** Adds an account; by default with one calendar, the primary one, and 20 events in it. */
export function createAccount(world: World, seed: string, spec: AccountSpec): Account {
  const account = world.addAccount({
    vendor: spec.vendor ?? 'google',
    ...(spec.email === undefined ? {} : { email: spec.email }),
    ...(spec.scope === undefined ? {} : { scope: spec.scope }),
  })
  const random = createRandom(`${seed}/${account.id}/events`)
  const wanted =
    typeof spec.calendars === 'object'
      ? spec.calendars
      : Array.from({ length: spec.calendars ?? 1 }, () => ({}))
  for (const [index, calendarSpec] of wanted.entries()) {
    const calendar = addCalendar(world, account, calendarSpec, index)
    const claimSoon = () => {
      const from = (Math.floor(world.now() / DAY_MS) + 1) * DAY_MS
      return generateClaim(random, calendar, account.vendor, { from, days: CLAIM_DAYS })
    }
    for (let event = 0; event < (spec.eventsPerCalendar ?? 20); event += 1) {
      insertEvent(world, calendar, spec.claims ? claimSoon() : generateFields(random, calendar, world.now()))
    }
  }
  return account
}

/** The account as the admin API shows it: with what a client needs to connect it. */
export function showAccount(world: World, account: Account) {
  const calendars = [...account.calendars.values()].filter((calendar) => !calendar.gone)
  return {
    accountId: account.id,
    email: account.email,
    vendor: account.vendor,
    refreshToken: account.refreshToken,
    ...world.identities[account.vendor],
    revoked: account.revoked,
    calendars: calendars.map(({ id, name }) => ({ id, name })),
  }
}

/** Adds a calendar to an account; `index` is how many it has. */
export function addCalendar(world: World, account: Account, spec: CalendarSpec, index: number): Calendar {
  const primary = spec.primary ?? index === 0
  return world.addCalendar({
    accountId: account.id,
    id: spec.id ?? calendarId(account, index, primary),
    email: account.email,
    name: spec.name ?? (primary ? account.email : `Calendar ${index + 1}`),
    timeZone: spec.timeZone ?? ZONES[(Number(account.id.slice(1)) + index) % ZONES.length] ?? 'UTC',
    accessRole: spec.accessRole ?? 'owner',
    primary,
    pushSupported: spec.pushSupported ?? true,
  })
}

/** At Google the primary calendar's id is the account's email; at Microsoft every id is opaque. */
function calendarId(account: Account, index: number, primary: boolean): string {
  const own = digest(`${account.id}/${index}`, 24)
  if (account.vendor === 'microsoft') return `AAMkAGI${Buffer.from(own).toString('base64url')}AAA=`
  return primary ? account.email : `c_${own}@group.calendar.google.com`
}
