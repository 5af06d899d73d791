// What an app may ask to judge otherwise than the vendor does, one question at a time. Pure.
import type { BusyPolicy } from '#shared/store/busy.ts'

/** What each member says of, as the text of a refusal names them too. */
export const POLICY_QUERY = [
  'tentative',
  'out_of_office',
  'focus_time',
  'working_elsewhere',
  'free_busy_only',
] as const
const WORDS: readonly unknown[] = ['busy', 'free']

export interface AskedPolicy extends BusyPolicy {
  /** Calendars that show free/busy alone: null and true count them, as the vendor does. */
  readonly freeBusyOnly: boolean | null
}

/**
 * The policy of a query, or what is wrong with it in words.
 * What is not named is judged as the vendor does.
 */
export function askedPolicy(query: Readonly<Record<string, unknown>>): AskedPolicy | string {
  const wrong = POLICY_QUERY.find((name) => query[name] !== undefined && !WORDS.includes(query[name]))
  if (wrong !== undefined) return `${wrong} is one of ${WORDS.join(', ')}.`
  const isBusy = (name: (typeof POLICY_QUERY)[number]) =>
    query[name] === undefined ? null : query[name] === 'busy'
  return {
    tentative: isBusy('tentative'),
    outOfOffice: isBusy('out_of_office'),
    focusTime: isBusy('focus_time'),
    workingElsewhere: isBusy('working_elsewhere'),
    freeBusyOnly: isBusy('free_busy_only'),
  }
}
