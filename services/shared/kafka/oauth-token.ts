// The access token of a Kafka login by OAUTHBEARER: one for all connections of a process, until
// shortly before its end.
import type { Granted, TokenSettings } from './client-credentials.ts'

/**
 * A token that is good for some time yet. Throws Failure `kafka/login-refused` when the endpoint
 * refuses us, `kafka/certificate-refused`, or `kafka/unavailable` when it does not answer within
 * 5 s.
 */
export type TokenSource = () => Promise<string>

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
  let token: { readonly value: string; readonly renewAt: number } | null = null
  let asking: Promise<string> | null = null
  const renew = async (): Promise<string> => {
    const { value, lifeSeconds } = await ask(settings)
    const lifeMs = (lifeSeconds ?? LIFE_UNKNOWN_SECONDS) * 1000
    token = { value, renewAt: now() + Math.min(lifeMs * RENEW_AT, lifeMs - LEFT_MIN_MS) }
    return value
  }
  return async () => {
    if (token !== null && now() < token.renewAt) return token.value
    asking ??= renew().finally(() => {
      asking = null
    })
    return asking
  }
}

type Ask = (settings: TokenSettings) => Promise<Granted>

const askEndpoint: Ask = async (settings) => (await import('./client-credentials.ts')).grantOf(settings)
