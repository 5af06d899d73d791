// Entra's error bodies: learn.microsoft.com/entra/identity-platform/reference-error-codes. Clients
// branch on `error` alone; the numbers in `error_codes` and `error_description` are for people.
// Graph's shape never comes from the sign-in, and this one never from Graph.
import { randomUUID } from 'node:crypto'
import type { Answer } from '../http.ts'

export const NO_STORE = { 'cache-control': 'no-store' }

interface Problem {
  readonly status?: number
  readonly error: string
  readonly code: number
  readonly text: string
  readonly suberror?: string
}

/** What a fault may ask for by its `reason`. */
const PROBLEMS: Readonly<Record<string, Problem>> = {
  invalid_grant: {
    error: 'invalid_grant',
    code: 700082,
    text: 'The refresh token has expired due to inactivity.',
  },
  interaction_required: {
    error: 'interaction_required',
    code: 50076,
    text: 'Due to a configuration change made by your administrator, you must use multi-factor authentication.',
    suberror: 'basic_action',
  },
  consent_required: {
    error: 'invalid_grant',
    code: 65001,
    text: 'The user or administrator has not consented to use the application.',
    suberror: 'consent_required',
  },
  login_required: { error: 'login_required', code: 50058, text: 'A silent sign-in request was sent.' },
  conditional_access: {
    error: 'interaction_required',
    code: 53003,
    text: 'Access has been blocked by Conditional Access policies.',
    suberror: 'message_only',
  },
  invalid_client: {
    status: 401,
    error: 'invalid_client',
    code: 7000215,
    text: 'Invalid client secret provided.',
  },
  unauthorized_client: {
    error: 'unauthorized_client',
    code: 700016,
    text: 'Application was not found in the directory.',
  },
  temporarily_unavailable: {
    status: 503,
    error: 'temporarily_unavailable',
    code: 90033,
    text: 'A transient error has occurred. Please try again.',
  },
  server_error: { status: 500, error: 'server_error', code: 90012, text: 'The request has timed out.' },
}

/** The words that come with a number; of others, only the number is known here. */
const NUMBERED: Readonly<Record<number, Pick<Problem, 'error' | 'text' | 'suberror'>>> = {
  50057: { error: 'invalid_grant', text: 'The user account is disabled.' },
  50105: {
    error: 'invalid_grant',
    text: 'The signed in user is not assigned to a role for the application.',
  },
  50173: { error: 'invalid_grant', text: 'The provided grant has expired due to it being revoked.' },
  65001: {
    error: 'invalid_grant',
    text: 'The user or administrator has not consented.',
    suberror: 'consent_required',
  },
  700016: { error: 'unauthorized_client', text: 'Application was not found in the directory.' },
  7000112: { error: 'unauthorized_client', text: 'Application is disabled.' },
  7000222: { error: 'invalid_client', text: 'The provided client secret keys for app are expired.' },
}

function problemNamed(word: string): Problem {
  const number = Number(/^AADSTS(\d+)$/.exec(word)?.[1])
  if (Number.isNaN(number))
    return PROBLEMS[word] ?? { error: word, code: 900000, text: 'The request failed.' }
  return { error: 'invalid_grant', text: 'The request failed.', ...NUMBERED[number], code: number }
}

/**
 * The error answer of the token endpoint; 400 unless the problem says otherwise. `now` in ms epoch.
 */
export function entraError(problem: Problem, now: number): Answer {
  const [trace, correlation] = [randomUUID(), randomUUID()]
  const at = new Date(now).toISOString().slice(0, 19).replace('T', ' ')
  return {
    status: problem.status ?? 400,
    headers: NO_STORE,
    body: {
      error: problem.error,
      error_description: `AADSTS${problem.code}: ${problem.text}\r\nTrace ID: ${trace}\r\nCorrelation ID: ${correlation}\r\nTimestamp: ${at}Z`,
      error_codes: [problem.code],
      timestamp: `${at}Z`,
      trace_id: trace,
      correlation_id: correlation,
      error_uri: `https://login.microsoftonline.com/error?code=${problem.code}`,
      ...(problem.suberror === undefined ? {} : { suberror: problem.suberror }),
    },
  }
}

/**
 * What an injected fault asks the sign-in for: a word of the table, `AADSTS` and a number, or the
 * usual one of the status.
 */
export function entraFault(status: number, reason: string | undefined, now: number): Answer {
  const usual =
    status === 429 || status === 503
      ? 'temporarily_unavailable'
      : status >= 500
        ? 'server_error'
        : status === 401
          ? 'invalid_client'
          : 'invalid_grant'
  return entraError({ ...problemNamed(reason ?? usual), status }, now)
}
