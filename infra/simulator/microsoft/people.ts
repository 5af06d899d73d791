// The mailbox's owner and the list of calendars:
// learn.microsoft.com/graph/api/user-get and …/user-list-calendars.
import type { Calendar as GraphCalendar, MailboxSettings, User } from '@microsoft/microsoft-graph-types'
import type { Answer, Call } from '../http.ts'
import { digest } from '../random.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account } from '../world/entries.ts'
import { misnamed, project } from './select.ts'
import { windowsName } from './zone-names.ts'

const TOP_DEFAULT = 10

/** The person behind a token; the id is the directory's and never changes. */
export function userOf({ seed }: { readonly seed: string }, account: Account) {
  const hex = digest(`${seed}/${account.id}/user`, 32)
  const id = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20),
  ].join('-')
  return {
    '@odata.context': 'https://graph.microsoft.com/v1.0/$metadata#users/$entity',
    id,
    displayName: account.email.split('@')[0] ?? '',
    mail: account.email,
    userPrincipalName: account.email,
  } satisfies User & { readonly '@odata.context': string }
}

/**
 * learn.microsoft.com/graph/api/user-get-mailboxsettings; the zone of the default calendar unless
 * another name is given.
 */
export function mailboxSettings(account: Account, zoneName: string | null) {
  const primary = [...account.calendars.values()].find((calendar) => calendar.primary && !calendar.gone)
  return {
    '@odata.context': "https://graph.microsoft.com/v1.0/$metadata#users('me')/mailboxSettings",
    archiveFolder: '',
    timeZone: zoneName ?? windowsName(primary?.timeZone ?? 'UTC'),
    dateFormat: 'M/d/yyyy',
    timeFormat: 'h:mm tt',
  } satisfies MailboxSettings & { readonly '@odata.context': string }
}

/** GET /me/calendars */
export function listCalendars(
  { origin }: { readonly origin: () => string },
  account: Account,
  call: Call,
): Answer {
  const all = [...account.calendars.values()].filter((calendar) => !calendar.gone && !calendar.unlisted)
  const rows = all.map(calendarRow)
  const problem = misnamed(rows[0], call.query)
  if (problem) return problem
  const top = Number(call.query.get('$top') ?? TOP_DEFAULT) || TOP_DEFAULT
  const skip = Number(call.query.get('$skip') ?? 0) || 0
  const next = new URLSearchParams(call.query)
  next.set('$skip', String(skip + top))
  return {
    status: 200,
    body: {
      '@odata.context': `${origin()}/v1.0/$metadata#users('me')/calendars`,
      ...(skip + top < all.length ? { '@odata.nextLink': `${origin()}${call.path}?${next.toString()}` } : {}),
      value: rows.slice(skip, skip + top).map((row) => project(row, call.query)),
    },
  }
}

export function calendarRow(calendar: Calendar): GraphCalendar {
  const owner = calendar.accessRole === 'owner'
  return {
    id: calendar.id,
    name: calendar.name,
    color: 'auto',
    hexColor: '',
    isDefaultCalendar: calendar.primary,
    changeKey: digest(`${calendar.id}/${calendar.listSeq}`, 16),
    canShare: owner,
    canViewPrivateItems: owner,
    canEdit: owner || calendar.accessRole === 'writer',
    allowedOnlineMeetingProviders: ['teamsForBusiness'],
    defaultOnlineMeetingProvider: 'teamsForBusiness',
    isTallyingResponses: true,
    isRemovable: !calendar.primary,
    owner: ownerOf(calendar),
  }
}

/** Calendars of others stand in the list under the address of whoever shares them. */
function ownerOf({ id, email, accessRole }: Calendar) {
  const address = accessRole === 'owner' ? email : `owner-${digest(id, 8)}@example.com`
  return { name: address, address }
}
