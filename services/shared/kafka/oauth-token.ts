// The access token of a Kafka login by OAUTHBEARER: one for all connections of a process, until
// shortly before its end.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Granted, TokenSettings } from './client-credentials.ts'
import { RefusalBackoff } from './refusal-backoff.ts'

export interface TokenSource {
  /**
   * A token that is good for some time yet. Throws Failure `kafka/login-refused` when the endpoint
   * refuses us, `kafka/certificate-refused`, or `kafka/unavailable` when it does not answer within
   * 5 s. An endpoint that refused us is asked again after 1 s, growing to 30 s, or at once with
   * another secret; meanwhile what it said is thrown.
   */
  (): Promise<string>
  /** What the endpoint said, while it is not asked again; null: a token may be had. */
  refusal(): Error | null
  /** A broker refused the last one: the next caller gets another. */
  forget(): void
}

const REFUSALS: ReadonlySet<FailureCode> = new Set(['kafka/login-refused', 'kafka/certificate-refused'])
const LIFE_UNKNOWN_SECONDS = 60
/** Renewed at four fifths of its life, */
const RENEW_AT = 0.8
/**
 * and while so much is left: a broker ends a session with its token (KIP-368), and KafkaJS logs in
 * again a fixed time before that (`LOG_IN_AGAIN_BEFORE_MS`), which has to be shorter.
 */
const LEFT_MIN_MS = 10_000

/** Asks for a token when there is none, or the last one is near its end. */
export function openTokenSource(
  settings: TokenSettings,
  { ask = askEndpoint, now = () => performance.now() }: Partial<{ ask: Ask; now: () => number }> = {},
): TokenSource {
  const backoff = new RefusalBackoff(now)
  const { endpoint } = settings
  const credentials = () => [settings.clientSecret.reveal()]
  let token: { readonly value: string; readonly renewAt: number } | null = null
  let asking: Promise<string> | null = null
  const renew = async (): Promise<string> => {
    const asWhom = credentials()
    const held = backoff.enter(endpoint, asWhom)
    if (held !== null) throw held
    const { value, lifeSeconds } = await ask(settings).catch((error: unknown) => {
      if (isRefusal(error)) backoff.refused(endpoint, asWhom, error)
      throw error
    })
    backoff.taken(endpoint)
    const lifeMs = (lifeSeconds ?? LIFE_UNKNOWN_SECONDS) * 1000
    token = { value, renewAt: now() + Math.min(lifeMs * RENEW_AT, lifeMs - LEFT_MIN_MS) }
    return value
  }
  const isFresh = () => token !== null && now() < token.renewAt
  const current = async () => {
    if (token !== null && isFresh()) return token.value
    asking ??= renew().finally(() => {
      asking = null
    })
    return asking
  }
  return Object.assign(current, {
    refusal: () => (isFresh() ? null : backoff.held(endpoint, credentials())),
    forget: () => {
      token = null
    },
  })
}

function isRefusal(error: unknown): error is Failure {
  return error instanceof Failure && REFUSALS.has(error.code)
}

type Ask = (settings: TokenSettings) => Promise<Granted>

const askEndpoint: Ask = async (settings) => (await import('./client-credentials.ts')).grantOf(settings)
