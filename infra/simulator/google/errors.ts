// Google's error bodies. The shape and the reasons are those of
// https://developers.google.com/workspace/calendar/api/guides/errors;
// clients branch on `reason`, so it has to be exact.
import type { Answer } from '../http.ts'

interface Shape {
  readonly status: number
  readonly domain: string
  readonly message: string
  /** The canonical name that newer answers carry beside the code. */
  readonly canonical?: string
  readonly details?: readonly unknown[]
  readonly location?: { readonly type: 'parameter' | 'header'; readonly name: string }
}

const SHAPES = {
  authError: {
    status: 401,
    domain: 'global',
    message: 'Invalid Credentials',
    canonical: 'UNAUTHENTICATED',
    location: { type: 'header', name: 'Authorization' },
  },
  insufficientPermissions: {
    status: 403,
    domain: 'global',
    message: 'Request had insufficient authentication scopes.',
    canonical: 'PERMISSION_DENIED',
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: 'ACCESS_TOKEN_SCOPE_INSUFFICIENT',
        domain: 'googleapis.com',
        metadata: { service: 'calendar-json.googleapis.com' },
      },
    ],
  },
  notFound: { status: 404, domain: 'global', message: 'Not Found' },
  badRequest: { status: 400, domain: 'global', message: 'Bad Request' },
  invalid: { status: 400, domain: 'global', message: 'Invalid Value' },
  required: { status: 400, domain: 'global', message: 'Required' },
  parseError: { status: 400, domain: 'global', message: 'Parse Error' },
  timeRangeEmpty: { status: 400, domain: 'calendar', message: 'The specified time range is empty.' },
  fullSyncRequired: {
    status: 410,
    domain: 'calendar',
    message: 'Sync token is no longer valid, a full sync is required.',
    location: { type: 'parameter', name: 'syncToken' },
  },
  updatedMinTooLongAgo: {
    status: 410,
    domain: 'calendar',
    message: 'The requested minimum modification time lies too far in the past.',
    location: { type: 'parameter', name: 'updatedMin' },
  },
  deleted: { status: 410, domain: 'global', message: 'Resource has been deleted' },
  duplicate: { status: 409, domain: 'global', message: 'The requested identifier already exists.' },
  conditionNotMet: {
    status: 412,
    domain: 'global',
    message: 'Precondition Failed',
    location: { type: 'header', name: 'If-Match' },
  },
  notACalendarUser: {
    status: 403,
    domain: 'calendar',
    message: 'The user must be signed up for Google Calendar.',
  },
  accessNotConfigured: {
    status: 403,
    domain: 'usageLimits',
    message: 'Google Calendar API has not been used in this project before or it is disabled.',
    canonical: 'PERMISSION_DENIED',
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: 'SERVICE_DISABLED',
        domain: 'googleapis.com',
        metadata: { service: 'calendar-json.googleapis.com' },
      },
    ],
  },
  forbidden: { status: 403, domain: 'global', message: 'Forbidden' },
  rateLimitExceeded: { status: 403, domain: 'usageLimits', message: 'Rate Limit Exceeded' },
  userRateLimitExceeded: { status: 403, domain: 'usageLimits', message: 'User Rate Limit Exceeded' },
  quotaExceeded: { status: 403, domain: 'usageLimits', message: 'Calendar usage limits exceeded.' },
  dailyLimitExceeded: { status: 403, domain: 'usageLimits', message: 'Daily Limit Exceeded' },
  backendError: { status: 503, domain: 'global', message: 'Backend Error' },
  channelIdNotUnique: { status: 400, domain: 'global', message: 'Channel id not unique' },
  pushNotSupportedForRequestedResource: {
    status: 400,
    domain: 'calendar',
    message: 'Push notifications are not supported by this resource.',
  },
  'push.webhookUrlNotHttps': {
    status: 400,
    domain: 'global',
    message: 'WebHook callback must be HTTPS',
  },
  'push.webhookUrlUnauthorized': {
    status: 401,
    domain: 'global',
    message: 'Unauthorized WebHook callback channel',
  },
  'push.channelTypeNotSupported': {
    status: 400,
    domain: 'global',
    message: 'Channel type not supported.',
  },
} as const satisfies Record<string, Shape>

export type Reason = keyof typeof SHAPES

/** The error answer for a reason, with Google's status and message unless others are given. */
export function googleError(
  reason: Reason,
  override: { readonly message?: string; readonly parameter?: string } = {},
): Answer {
  const shape: Shape = SHAPES[reason]
  const location = override.parameter
    ? ({ type: 'parameter', name: override.parameter } as const)
    : shape.location
  return errorBody({
    ...shape,
    ...(location ? { location } : {}),
    reason,
    message: override.message ?? shape.message,
  })
}

/** The error answer for any status and reason: what an injected fault asks for. */
export function faultError(status: number, reason: string | undefined): Answer {
  const fallback = status === 429 ? 'rateLimitExceeded' : status >= 500 ? 'backendError' : 'badRequest'
  const name = reason ?? fallback
  const shape = Object.hasOwn(SHAPES, name) ? SHAPES[name as Reason] : SHAPES.badRequest
  return errorBody({ ...shape, status, reason: name })
}

function errorBody(error: Shape & { readonly reason: string }): Answer {
  const { status, domain, reason, message, location, canonical, details } = error
  const place = location ? { locationType: location.type, location: location.name } : {}
  return {
    status,
    body: {
      error: {
        errors: [{ domain, reason, message, ...place }],
        code: status,
        message,
        ...(canonical ? { status: canonical } : {}),
        ...(details ? { details } : {}),
      },
    },
    ...(status === 401
      ? { headers: { 'www-authenticate': 'Bearer realm="https://accounts.google.com/"' } }
      : {}),
  }
}
