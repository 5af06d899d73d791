// Which of network, certificate, login and right it was that kept us from a part: each is mended at
// another place.
import { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import { tlsTroubleIn } from '#shared/process/tls-words.ts'
import { UserError } from '#shared/process/user-error.ts'

export type TroubleKind = 'network' | 'certificate' | 'login' | 'right'

/** A refusal by HTTP. */
export class Refusal extends UserError {
  readonly kind: TroubleKind

  /** @param status 401 or 403. */
  constructor(status: number, message: string) {
    super(message)
    this.kind = status === 401 ? 'login' : 'right'
  }
}

const OF_CODES: Readonly<Record<string, TroubleKind>> = {
  unavailable: 'network',
  'certificate-refused': 'certificate',
  'login-refused': 'login',
  'right-missing': 'right',
}

const met = z.object({ code: z.string() })
/** Codes of sockets and of lookups of names, as Node and undici have them. */
const NETWORK = /^(?:E[A-Z]{4,}|UND_ERR_\w+)$/

/** null for what is none of the four: a part that is there, and not as it must be. */
export function troubleKindOf(error: unknown): TroubleKind | null {
  if (error instanceof Refusal) return error.kind
  if (error instanceof Failure) return OF_CODES[error.code.split('/')[1] ?? ''] ?? null
  if (tlsTroubleIn(error) !== null) return 'certificate'
  if (!(error instanceof Error)) return null
  if (error.name === 'TimeoutError') return 'network'
  const code = met.safeParse(error)
  if (code.success && NETWORK.test(code.data.code)) return 'network'
  const cause = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  return troubleKindOf(cause)
}
