// Access tokens of connections. One refresh per connection runs at a time in a process, however
// many ask; a rotated refresh token is stored before the access token that came with it is used; a
// token is renewed a minute before it ends. Between processes the version of the credentials row
// decides: who loses reads what the winner stored.
import type { AccessUpdate, StoredCredentials } from '#shared/domain/credentials.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import { openSecret, sealSecret, type Keyring } from '#shared/process/keyring.ts'
import type { Grant } from './vendor.ts'

/** Longer than a call may take, so that a token does not end under a call. */
const RENEW_BEFORE_MICROS = 60_000_000
const SUPERSEDED_MAX = 3
const REJECTED_MAX = 10_000

export interface TokensDeps {
  readonly refresh: (refreshToken: string, signal: AbortSignal, connectionId: ConnectionId) => Promise<Grant>
  readonly load: (connectionId: ConnectionId) => Promise<StoredCredentials | null>
  readonly save: (update: AccessUpdate) => Promise<'saved' | 'superseded'>
  readonly keyring: Keyring
  readonly clock: Clock
}

export interface Tokens {
  /**
   * A token that is good for a minute at least. Throws Failure `vendor/grant-revoked` when the
   * person has to connect again.
   */
  of(connectionId: ConnectionId, signal: AbortSignal): Promise<string>
  /** The vendor did not accept this token: the next `of` fetches another. */
  invalidate(connectionId: ConnectionId, rejected: string): void
}

/** The tokens of one vendor's connections. */
export function openTokens(deps: TokensDeps): Tokens {
  const flights = new Map<ConnectionId, Promise<string>>()
  const rejected = new Map<ConnectionId, string>()

  async function tokenOf(connectionId: ConnectionId, signal: AbortSignal): Promise<string> {
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted()
      const fresh = await orAborted(join(connectionId), signal)
      // A flight that began before the rejection may still bring the rejected token: one more
      // flight then knows better.
      if (fresh === rejected.get(connectionId) && attempt === 1) continue
      if (fresh !== rejected.get(connectionId)) rejected.delete(connectionId)
      return fresh
    }
  }

  function join(connectionId: ConnectionId): Promise<string> {
    const running = flights.get(connectionId)
    if (running) return running
    // Without the signal of a caller: others may wait for the same flight.
    // It ends by the deadlines of its parts.
    const flight = currentToken(deps, connectionId, rejected.get(connectionId)).finally(() =>
      flights.delete(connectionId),
    )
    flights.set(connectionId, flight)
    return flight
  }

  function invalidate(connectionId: ConnectionId, rejectedToken: string): void {
    rejected.set(connectionId, rejectedToken)
    const [oldest] = rejected.keys()
    if (rejected.size > REJECTED_MAX && oldest !== undefined) rejected.delete(oldest)
  }

  return { of: tokenOf, invalidate }
}

async function currentToken(
  deps: TokensDeps,
  connectionId: ConnectionId,
  rejected: string | undefined,
): Promise<string> {
  for (let attempt = 0; attempt < SUPERSEDED_MAX; attempt += 1) {
    const stored = await deps.load(connectionId)
    if (stored === null) {
      throw new Failure(
        'vendor/grant-revoked',
        'No credentials are stored for this connection. Connect the account again.',
      )
    }
    const usable = usableToken(deps, connectionId, stored)
    if (usable !== null && usable !== rejected) return usable
    const refreshToken = openSecret(deps.keyring, stored.refreshToken, {
      connectionId,
      field: 'refresh_token',
    })
    const grant = await deps.refresh(refreshToken, AbortSignal.timeout(60_000), connectionId)
    const sealed = sealGrant(deps.keyring, connectionId, grant)
    const outcome = await deps.save({ connectionId, version: stored.version, ...sealed })
    if (outcome === 'saved') return grant.accessToken
  }
  throw new Failure('store/contention', 'Other processes kept refreshing the token of this connection.')
}

function usableToken(deps: TokensDeps, connectionId: ConnectionId, stored: StoredCredentials): string | null {
  const { accessToken, accessExpiresAt } = stored
  if (accessToken === null || accessExpiresAt === null) return null
  if (accessExpiresAt - deps.clock.now() < RENEW_BEFORE_MICROS) return null
  return openSecret(deps.keyring, accessToken, { connectionId, field: 'access_token' })
}

/**
 * A grant as it is stored; the fields are those of the table,
 * so a value moved to another column does not open.
 */
function sealGrant(
  keyring: Keyring,
  connectionId: ConnectionId,
  grant: Grant,
): Omit<AccessUpdate, 'connectionId' | 'version'> {
  const seal = (text: string, field: string) => sealSecret(keyring, text, { connectionId, field })
  return {
    refreshToken: grant.refreshToken === null ? null : seal(grant.refreshToken, 'refresh_token'),
    accessToken: seal(grant.accessToken, 'access_token'),
    accessExpiresAt: grant.accessExpiresAt,
    scope: grant.scope,
    subject: grant.subject ?? null,
    endsAt: grant.endsAt ?? null,
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason)
    signal.addEventListener('abort', aborted, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}
