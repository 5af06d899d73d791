// Graph's error bodies: learn.microsoft.com/graph/errors. Clients branch on the status and the
// code; ids and dates are there too.
import { randomUUID } from 'node:crypto'
import type { Answer } from '../http.ts'

const SHAPES = {
  InvalidAuthenticationToken: { status: 401, message: 'Access token has expired or is not yet valid.' },
  ErrorAccessDenied: { status: 403, message: 'Access is denied. Check credentials and try again.' },
  Authorization_RequestDenied: {
    status: 403,
    message: 'Insufficient privileges to complete the operation.',
  },
  ExtensionError: {
    status: 403,
    message: 'Operation: Create; Exception: [Status Code: Forbidden; Reason: Access denied]',
  },
  ErrorItemNotFound: {
    status: 404,
    message:
      'The specified object was not found in the store., The process failed to get the correct properties.',
  },
  ResourceNotFound: { status: 404, message: 'The object was not found.' },
  MailboxNotEnabledForRESTAPI: {
    status: 404,
    message: 'The mailbox is either inactive, soft-deleted, or is hosted on-premise.',
  },
  UnknownSegment: { status: 400, message: 'Resource not found for the segment.' },
  BadRequest: { status: 400, message: 'The request is not valid.' },
  RequestBodyRead: { status: 400, message: 'The body of the request cannot be read.' },
  ErrorInvalidUrlQuery: { status: 400, message: 'The query parameter is not supported with this request.' },
  ErrorInvalidParameter: { status: 400, message: 'A parameter has a value that is not valid.' },
  ErrorInvalidIdMalformed: { status: 400, message: 'Id is malformed.' },
  ErrorInvalidUrlQueryFilter: {
    status: 400,
    message: 'The query filter contains one or more invalid nodes.',
  },
  ErrorPropertyValidationFailure: { status: 400, message: 'A property of the item is not valid.' },
  TimeZoneNotSupportedException: { status: 400, message: 'A valid TimeZone value must be specified.' },
  ErrorDuplicateTransactionId: {
    status: 409,
    message: 'Your request cannot be completed. The TransactionId was already used by a previous request.',
  },
  SyncStateNotFound: {
    status: 410,
    message: 'The sync state generation is not found; generation=149;[highest=157].',
  },
  syncStateNotFound: { status: 410, message: 'The sync state is not found.' },
  resyncRequired: {
    status: 410,
    message: 'Resync required. Replace any local items with the server version.',
  },
  SyncStateInvalid: { status: 400, message: 'The sync state is not valid.' },
  ErrorIrresolvableConflict: {
    status: 412,
    message:
      'The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.',
  },
  FailedDependency: {
    status: 424,
    message: 'The request was not made, because a request that it depends on failed.',
  },
  ApplicationThrottled: { status: 429, message: 'Application is over its MailboxConcurrency limit.' },
  TooManyRequests: { status: 429, message: 'Too many requests.' },
  UnknownError: { status: 503, message: '' },
  ValidationError: {
    status: 400,
    message:
      'Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.',
  },
  InvalidRequest: { status: 400, message: 'The request is not valid.' },
} as const satisfies Record<string, { readonly status: number; readonly message: string }>

export type Code = keyof typeof SHAPES

/** The error answer of a code, with Graph's status and message unless others are given. */
export function graphError(
  code: Code,
  override: {
    readonly status?: number
    readonly message?: string
    readonly headers?: Record<string, string>
  } = {},
): Answer {
  const shape = SHAPES[code]
  const status = override.status ?? shape.status
  return body(status, code, override.message ?? shape.message, override.headers)
}

/** The error answer for any status and code: what an injected fault asks for. */
export function faultError(status: number, reason: string | undefined): Answer {
  const fallback: Code =
    status === 429
      ? 'ApplicationThrottled'
      : status === 401
        ? 'InvalidAuthenticationToken'
        : status === 403
          ? 'ErrorAccessDenied'
          : status === 404
            ? 'ErrorItemNotFound'
            : status === 410
              ? 'SyncStateNotFound'
              : status >= 500
                ? 'UnknownError'
                : 'BadRequest'
  const code = reason ?? fallback
  const message = Object.hasOwn(SHAPES, code) ? SHAPES[code as Code].message : 'An error occurred.'
  return body(status, code, message)
}

/** Every answer of Graph names its request. */
export function graphHeaders(): Record<string, string> {
  const id = randomUUID()
  return {
    'request-id': id,
    'client-request-id': id,
    'x-ms-ags-diagnostic': '{"ServerInfo":{"DataCenter":"Simulated"}}',
  }
}

function body(status: number, code: string, message: string, headers?: Record<string, string>): Answer {
  const own = graphHeaders()
  const id = own['request-id']
  const inner = { date: new Date().toISOString().slice(0, 19), 'request-id': id, 'client-request-id': id }
  return {
    status,
    headers: {
      ...own,
      ...(status === 401
        ? {
            'www-authenticate':
              'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"',
          }
        : {}),
      ...headers,
    },
    body: { error: { code, message, innerError: inner } },
  }
}
