// Refusals as vendors really give them, as faults: who is refused, and in which words. Each is what
// the vendor answers instead of working, until it is over or deleted.
import type { FaultSpec } from './faults.ts'

export interface RefusalSpec {
  readonly vendor: 'google' | 'microsoft'
  /**
   * `unauthorized`: the API answers 401 to good tokens. `project`: the operator's app is
   * refused, whoever calls. `suspended`: the API says that the user has no calendar. `tenant`:
   * the sign-in refuses tokens in the words of an organization. `token-rate`: the sign-in
   * refuses tokens for its rate limit.
   */
  readonly kind: 'unauthorized' | 'project' | 'suspended' | 'tenant' | 'token-rate'
  readonly accountId?: string | undefined
  readonly calendarId?: string | undefined
  /** The AADSTS number of `tenant` and `project` at Microsoft. */
  readonly number?: number | undefined
  /** How `token-rate` looks. */
  readonly form?: 'html' | 'json' | undefined
  readonly forMs?: number | undefined
}

type Respond = NonNullable<FaultSpec['respond']>

const API = { google: '^/calendar/', microsoft: '^/v1\\.0/' } as const

/** The fault that plays a refusal. */
export function refusalFault(spec: RefusalSpec): FaultSpec {
  const { vendor, accountId, calendarId, forMs } = spec
  const atSignIn = isAtSignIn(spec)
  const match = {
    vendor,
    ...(atSignIn ? { operation: 'token' } : { path: API[vendor] }),
    ...(accountId === undefined ? {} : { accountId }),
    ...(calendarId === undefined ? {} : { calendarId }),
  }
  const isHtml = spec.kind === 'token-rate' && spec.form === 'html'
  return {
    match,
    respond: respondOf(spec),
    ...(isHtml ? { html: true } : {}),
    ...(forMs === undefined ? {} : { forMs }),
  }
}

function isAtSignIn({ vendor, kind }: RefusalSpec): boolean {
  return kind === 'tenant' || kind === 'token-rate' || (kind === 'project' && vendor === 'microsoft')
}

function respondOf({ vendor, kind, number }: RefusalSpec): Respond {
  const isGoogle = vendor === 'google'
  switch (kind) {
    case 'unauthorized':
      return { status: 401, reason: isGoogle ? 'authError' : 'InvalidAuthenticationToken' }
    case 'suspended':
      return isGoogle
        ? { status: 403, reason: 'notACalendarUser' }
        : { status: 404, reason: 'MailboxNotEnabledForRESTAPI' }
    case 'project':
      return isGoogle
        ? { status: 403, reason: 'accessNotConfigured' }
        : { status: 401, reason: `AADSTS${number ?? 7000222}` }
    case 'tenant':
      return isGoogle
        ? { status: 400, reason: 'admin_policy_enforced' }
        : { status: 400, reason: `AADSTS${number ?? 700016}` }
    case 'token-rate':
      return { status: 403, reason: 'rate_limit_exceeded' }
    default:
      return kind satisfies never
  }
}
