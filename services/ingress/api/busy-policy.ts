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
const WORDS = ['busy', 'free'] as const

type Member = (typeof POLICY_QUERY)[number]

export interface AskedPolicy extends BusyPolicy {
  /** Calendars that show free/busy alone: null and true count them, as the vendor does. */
  readonly freeBusyOnly: boolean | null
}

/**
 * The policy of a query, or what is wrong with it in words.
 * What is not named is judged as the vendor does.
 */
export function askedPolicy(query: Readonly<Record<string, unknown>>): AskedPolicy | string {
  const told = new Map<Member, boolean | null>()
  for (const name of POLICY_QUERY) {
    const word = query[name]
    if (word !== undefined && !WORDS.some((one) => one === word))
      return `${name} is one of ${WORDS.join(', ')}.`
    told.set(name, word === undefined ? null : word === 'busy')
  }
  return {
    tentative: told.get('tentative') ?? null,
    outOfOffice: told.get('out_of_office') ?? null,
    focusTime: told.get('focus_time') ?? null,
    workingElsewhere: told.get('working_elsewhere') ?? null,
    freeBusyOnly: told.get('free_busy_only') ?? null,
  }
}
