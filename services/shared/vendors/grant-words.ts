// The documented words that say something about one grant: the only ones on which a connection may
// wait for a person at once. Whatever is not here is tried again, and judged by what else was
// refused and for how long (sync/unit/judge-refusal.ts).
// Sources, read 2026-11-29:
// - Microsoft: https://learn.microsoft.com/entra/identity-platform/reference-error-codes (the
//   tables "error" and "AADSTS error codes"). It asks clients to react to `error` and warns that
//   numbers may change. But `error` is `invalid_grant` for a revoked person, a removed app and a
//   blocked location alike. So numbers decide, and a number that is not here parks no connection.
// - Google: https://developers.google.com/identity/protocols/oauth2#expiration (why a refresh token
//   stops working), …/identity/protocols/oauth2/web-server (invalid_grant, admin_policy_enforced),
//   session control with `invalid_rapt`: https://support.google.com/a/answer/9368756.
//   "Account has been deleted" and "Bad Request" are seen beside invalid_grant.
// - Both: RFC 6749 §5.2.
import type { FailureCode } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'

/** A refusal of a token endpoint, as far as it is made of words. */
export interface Refusal {
  readonly status: number
  readonly error: string | undefined
  /** Google's `error_subtype`. */
  readonly subtype: string | undefined
  readonly description: string
  /** Microsoft's `error_codes`. */
  readonly numbers: readonly number[]
}

/** What a word means. */
export interface GrantWord {
  readonly code: FailureCode
  /** What is so, without a full stop. */
  readonly says: string
  /** What to do about it: a whole sentence. */
  readonly todo: string
  /** The same grant may be good again without the person. */
  readonly mayHeal: boolean
  readonly number?: number
  /** The address at which an administrator approves the app belongs to it. */
  readonly asksApproval?: true
}

const SIGN_IN_AGAIN = 'The person has to connect the account again.'
const ADMIN = 'An administrator of the organization has to'

interface Group extends GrantWord {
  readonly numbers: readonly number[]
}

const revoked = (numbers: readonly number[], says: string, mayHeal = false): Group => ({
  numbers,
  code: 'vendor/grant-revoked',
  says,
  todo: SIGN_IN_AGAIN,
  mayHeal,
})
const admin = (numbers: readonly number[], says: string, does: string): Group => ({
  numbers,
  code: 'vendor/admin-required',
  says,
  todo: `${ADMIN} ${does}.`,
  mayHeal: true,
})
const approval = (numbers: readonly number[], says: string, does: string): Group => ({
  ...admin(numbers, says, does),
  asksApproval: true,
})
const operator = (
  numbers: readonly number[],
  says: string,
  todo = 'An operator has to correct the registration of the app, or the settings that name it.',
): Group => ({
  numbers,
  code: 'vendor/client-rejected',
  says,
  todo,
  mayHeal: true,
})
/** Where Entra's numbers leave one setting to correct, it is named. */
const TODO = {
  secret:
    'Make a new client secret (App registrations, Certificates & secrets) and set its value, not its id, as MICROSOFT_CLIENT_SECRET.',
  tenant:
    'Set MICROSOFT_TENANT to the directory (tenant) id of the app, or to common, organizations or consumers as its supported account types say.',
  redirect:
    'Register the redirect address as a Web platform of the app, letter by letter and without a slash at its end; `calstream doctor` prints it.',
} as const
const passing = (numbers: readonly number[], code: FailureCode, says: string): Group => ({
  numbers,
  code,
  says,
  todo: 'It is tried again automatically.',
  mayHeal: true,
})

/**
 * In the order of their strength, when an answer names several: what passes without a person comes
 * first.
 */
const MICROSOFT: readonly Group[] = [
  passing([50196, 90055, 50166], 'vendor/throttled', 'Too many tokens were asked for'),
  passing(
    [
      40010, 50000, 50033, 50087, 70012, 80001, 80002, 80005, 80007, 80014, 90006, 90012, 90024, 90033, 90036,
      90090, 90091,
    ],
    'vendor/unavailable',
    'The sign-in service has trouble of its own',
  ),
  passing([50013, 500133, 80013], 'vendor/unavailable', 'Two clocks differ'),
  operator([7000215, 7000222], 'Our client secret is wrong or expired', TODO.secret),
  operator([70002, 7000218, 700025, 700027, 700030], 'Our client secret is wrong or expired'),
  operator(
    [50194, 90002, 900023, 9001023, 9002331, 9002332],
    'MICROSOFT_TENANT does not fit the app',
    TODO.tenant,
  ),
  operator([50011], 'Our redirect address is not registered', TODO.redirect),
  operator(
    [50049, 65005, 650057, 70003, 70011, 90038, 900382, 900432],
    'Our app is not registered for this kind of account, cloud or permission',
  ),
  revoked(
    [50173],
    'The grant was taken back, by the person or an administrator, or the password was changed',
  ),
  revoked([70008, 700082, 700084, 50089], 'The grant ended because it was not used or its time was over'),
  revoked([70000, 9002313, 50085, 50139, 700005], 'The grant is not valid any more'),
  revoked([50132, 50133, 50055, 50144, 50056], 'The password was changed or has expired', true),
  revoked([50072, 50074, 50076, 50078, 50079, 50158], 'Signing in now takes a second factor', true),
  revoked([70043], 'The organization wants people to sign in more often', true),
  revoked([65001, 65004], 'The consent was taken back, by the person or an administrator', true),
  revoked([16000, 50058, 700020], 'The person has to be there to sign in', true),
  approval(
    [700016, 700011, 500011, 650052, 650056],
    'The app is not, or no longer, approved in this organization',
    'approve the app again',
  ),
  approval([90094, 90095, 90008, 90099], 'Only an administrator may consent to this app', 'approve the app'),
  admin(
    [7000112, 70001, 1000031],
    'The app is disabled in this organization',
    'allow sign-in to the app again',
  ),
  admin([50105], 'The account is not among those that may use the app', 'assign the account to the app'),
  admin([50057], 'The account is disabled', 'enable the account again'),
  admin(
    [50034, 51004, 50020, 50014, 16003],
    'The account is not, or no longer, in this organization',
    'say what became of the account',
  ),
  admin(
    [
      50005, 50097, 50129, 50131, 50155, 50187, 53000, 53001, 53002, 53003, 53004, 53010, 53011, 530032,
      530034, 530035,
    ],
    'A policy of the organization (conditional access) does not let the app in',
    'exempt the app from the policy or change it',
  ),
  admin(
    [50002, 500021, 500022, 500212, 500213],
    'The organization does not allow access across organizations',
    'allow it for the app',
  ),
  admin([50015, 54000], 'The account belongs to a minor, for whom consent is needed', 'give that consent'),
]

const MICROSOFT_BY_NUMBER: ReadonlyMap<number, { readonly word: GrantWord; readonly rank: number }> = new Map(
  MICROSOFT.flatMap(({ numbers, ...word }, rank) =>
    numbers.map((number) => [number, { word: { ...word, number }, rank }] as const),
  ),
)

/**
 * Entra's `error` alone asks for the person:
 * "Retry the request with the same resource, interactively".
 */
const NEEDS_PERSON = revoked([], 'The person has to be there to sign in', true)
const OUR_APP = operator([], 'The vendor does not accept our app')
const GOOGLE_CLIENT = operator(
  [],
  'Our client id or secret is wrong, or the client was deleted',
  'Compare GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET with the client in the Google Cloud console (Google Auth Platform, Clients).',
)
const GOOGLE_REDIRECT = operator(
  [],
  'Our redirect address is not registered',
  'Add it to the authorized redirect URIs of the client, letter by letter and without a slash at its end; `calstream doctor` prints it.',
)
const ENDED = revoked([], 'The grant has ended or was taken back')

/** Google's own texts beside `invalid_grant` for a grant that never comes back. */
const GOOGLE_ENDED: ReadonlyMap<string, GrantWord> = new Map([
  ['token has been expired or revoked', ENDED],
  ['account has been deleted', revoked([], 'The account was deleted')],
])
/**
 * Beside `invalid_grant` these are about a clock,
 * an hour or an account that may be let in again, not about the grant.
 */
const GOOGLE_OTHER =
  /jwt|\biat\b|clock|time.?(?:frame|skew)|disabled|suspend|temporar|again|internal|rate|quota/i
const GOOGLE_SUBTYPES: ReadonlyMap<string, GrantWord> = new Map(
  ['invalid_rapt', 'rapt_required'].map((subtype) => [
    subtype,
    revoked([], 'The organization wants people to sign in more often', true),
  ]),
)

const CLIENT_WORDS = new Set([
  'invalid_client',
  'deleted_client',
  'disabled_client',
  'redirect_uri_mismatch',
  'unsupported_grant_type',
  'invalid_scope',
])

/**
 * What the refusal of a refresh says about the grant or about our app;
 * null when that is not documented.
 */
export function grantWordOf(vendor: VendorName, refusal: Refusal): GrantWord | null {
  // RFC 6749 §5.2: 400, or 401 for a client that is not known;
  // whatever else a proxy put in front says nothing.
  if (refusal.status !== 400 && refusal.status !== 401 && refusal.status !== 403) return null
  return vendor === 'google' ? googleWord(refusal) : microsoftWord(refusal)
}

/**
 * What the number at the beginning of an Entra `error_description` means; null for any other text.
 */
export function microsoftWordIn(description: unknown): GrantWord | null {
  const number = numberIn(description)
  return number === null ? null : (MICROSOFT_BY_NUMBER.get(number)?.word ?? null)
}

/** Entra's texts begin with their number. */
export function numberIn(description: unknown): number | null {
  const digits = typeof description === 'string' ? /^AADSTS(\d{4,10})\b/.exec(description)?.[1] : undefined
  return digits === undefined ? null : Number(digits)
}

function microsoftWord({ status, error, numbers }: Refusal): GrantWord | null {
  const known = numbers.flatMap((number) => MICROSOFT_BY_NUMBER.get(number) ?? [])
  const [first] = known.toSorted((a, b) => a.rank - b.rank)
  if (first) return first.word
  const [number] = numbers
  const numbered = (word: GrantWord) => (number === undefined ? word : { ...word, number })
  if (error === undefined) return null
  if (CLIENT_WORDS.has(error)) return numbered(OUR_APP)
  if (/^(?:interaction|consent|login)_required$/.test(error)) return numbered(NEEDS_PERSON)
  return error === 'invalid_grant' && number === undefined && status === 400
    ? { ...ENDED, mayHeal: true }
    : null
}

function googleWord({ status, error, subtype, description }: Refusal): GrantWord | null {
  if (error === undefined) return null
  if (error === 'redirect_uri_mismatch') return GOOGLE_REDIRECT
  if (/^(?:invalid|deleted|disabled)_client$/.test(error)) return GOOGLE_CLIENT
  if (CLIENT_WORDS.has(error) || error === 'unauthorized_client') return OUR_APP
  if (error === 'admin_policy_enforced')
    return admin([], 'A policy of the organization does not let the app in', 'allow the app')
  if (error !== 'invalid_grant' || status !== 400) return null
  if (subtype !== undefined) return GOOGLE_SUBTYPES.get(subtype) ?? null
  const known = GOOGLE_ENDED.get(description.trim().toLowerCase().replace(/\.$/, ''))
  if (known !== undefined) return known
  // "The token may have expired or has been invalidated" (web-server, invalid_grant), whatever text
  // comes along: it is asked about again now and then.
  return GOOGLE_OTHER.test(description) ? null : { ...ENDED, mayHeal: true }
}

/**
 * The one word of an API that is about the grant: a token that lacks the scope.
 * Source, read 2026-11-29: google.rpc.ErrorReason ACCESS_TOKEN_SCOPE_INSUFFICIENT,
 * https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
 */
export const SCOPE_INSUFFICIENT = 'ACCESS_TOKEN_SCOPE_INSUFFICIENT'
