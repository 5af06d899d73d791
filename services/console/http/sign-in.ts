// The way in: an operator's bearer token is exchanged for a cookie, which scripts cannot read and
// other sites cannot send. Programs bring the token with each request instead. Invariants: no
// request gets past without one of the two; what changes something is refused to a viewer, and to
// a page of another site.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { BearerCheck } from '#shared/process/bearer.ts'
import { comesFromUs } from './same-site.ts'
import { PageTrouble, wantsJson, type ShowTrouble, type Trouble } from './server.ts'
import type { Person, Sessions } from './sessions.ts'
import type { Tries } from './tries.ts'

export interface DoorDeps {
  readonly bearer: BearerCheck
  readonly sessions: Sessions
  readonly tries: Tries
  readonly show: ShowTrouble
  /** Where browsers reach us; null: what they name as Host. */
  readonly ownOrigin: string | null
  /** Shows the form, with why the last try failed. */
  readonly form: (reply: FastifyReply, asked: { to: string; problem: string | null }) => FastifyReply
}

export const SIGN_IN = '/sign-in'
const SIGN_OUT = '/sign-out'
/** A session lasts as long as its token, and no longer than a long shift. */
const SESSION_MAX_MS = 12 * 3_600_000

const people = new WeakMap<FastifyRequest, Person>()

/** Who asks; every route but the door's own has one. */
export function personOf(request: FastifyRequest): Person {
  const person = people.get(request)
  if (!person) throw new Error('A request reached its page without a person.')
  return person
}

/** The same where it may be a stranger. */
export function personOrNull(request: FastifyRequest): Person | null {
  return people.get(request) ?? null
}

/**
 * What the claims of a good token let their bearer do: a scope is one text of words (RFC 8693
 * §4.2). A token that names a provider is an app's.
 */
export function personIn(claims: Readonly<Record<string, unknown>> | null): Person | null {
  if (claims === null || claims['provider_id'] !== undefined) return null
  const { scope, sub } = claims
  const words = typeof scope === 'string' ? scope.split(' ') : []
  const name = typeof sub === 'string' && sub.trim() !== '' ? sub.trim().slice(0, 80) : null
  if (words.includes('operator')) return { role: 'operator', name: name ?? 'operator' }
  return words.includes('operator.read') ? { role: 'viewer', name: name ?? 'viewer' } : null
}

/** Guards every route that is not the door or an asset, and registers the door. */
export function registerDoor(app: FastifyInstance, deps: DoorDeps): void {
  const { sessions, show, ownOrigin } = deps
  const cookieName = ownOrigin?.startsWith('https:') === true ? '__Host-calstream' : 'calstream'
  const secretOf = (request: FastifyRequest): string => request.cookies[cookieName] ?? ''

  app.addHook('onRequest', async (request, reply) => {
    const changes = request.method !== 'GET' && request.method !== 'HEAD'
    const { authorization } = request.headers
    // A token in a header is nothing that a browser adds alone.
    if (changes && authorization === undefined && !comesFromUs(request.headers, ownOrigin))
      return show(request, reply, ELSEWHERE)
    const [path = ''] = request.url.split('?')
    if (path === SIGN_IN || path.startsWith('/assets/')) return undefined
    const person =
      authorization === undefined
        ? sessions.find(secretOf(request))
        : personIn(await claimsOf(deps.bearer, authorization))
    if (person === null) return refuseStranger(request, reply, show)
    people.set(request, person)
    if (changes && person.role !== 'operator' && path !== SIGN_OUT) return show(request, reply, READ_ONLY)
    return undefined
  })

  app.get(SIGN_IN, (request, reply) => deps.form(reply, { to: targetOf(request.query), problem: null }))
  app.post(SIGN_IN, async (request, reply) => signIn(request, reply, { ...deps, cookieName }))
  app.post(SIGN_OUT, (request, reply) => {
    sessions.close(secretOf(request))
    return reply.clearCookie(cookieName, { path: '/' }).redirect(SIGN_IN, 303)
  })
}

async function signIn(
  request: FastifyRequest,
  reply: FastifyReply,
  { bearer, sessions, tries, form, ownOrigin, cookieName }: DoorDeps & { readonly cookieName: string },
): Promise<FastifyReply> {
  const fields = (request.body ?? {}) as Readonly<Record<string, unknown>>
  const to = targetOf(fields)
  const wait = tries.waitSeconds(request.ip)
  if (wait > 0) {
    const problem = `Too many sign-ins failed. Try again in ${wait} s.`
    return form(reply.code(429).header('retry-after', String(wait)), { to, problem })
  }
  const { token: given } = fields
  const token = typeof given === 'string' ? given.trim() : ''
  const claims = await claimsOf(bearer, `Bearer ${token}`)
  const person = personIn(claims)
  if (person === null) {
    tries.failed(request.ip)
    return form(reply.code(401), { to, problem: claims === null ? REFUSED : FOREIGN })
  }
  const endsAtMs = Math.min(Number(claims?.['exp']) * 1000, Date.now() + SESSION_MAX_MS)
  void reply.setCookie(cookieName, sessions.open(person, endsAtMs), {
    path: '/',
    httpOnly: true,
    sameSite: 'strict',
    secure: ownOrigin?.startsWith('https:') === true,
    expires: new Date(endsAtMs),
  })
  return reply.redirect(to, 303)
}

/** Throws PageTrouble while the keys cannot be had: that is neither a yes nor a no. */
async function claimsOf(bearer: BearerCheck, authorization: string): ReturnType<BearerCheck> {
  try {
    return await bearer(authorization)
  } catch (error) {
    throw new PageTrouble(NO_KEYS, { cause: error })
  }
}

const NO_KEYS: Trouble = {
  status: 503,
  title: 'No sign-in is possible at the moment',
  detail: 'The keys that sign tokens cannot be had from API_JWKS_URL. Try again when the issuer answers.',
}
const REFUSED =
  'This token is not good, or has ended. Make a new one: calstream token --operator (or --viewer to read only).'
const FOREIGN =
  'This token belongs to an app. The console takes the token of an operator: calstream token --operator.'

/** A path of ours and nothing else: `//host` would lead elsewhere. */
function targetOf(fields: unknown): string {
  const to = (fields as Readonly<Record<string, unknown>> | null)?.['to']
  return typeof to === 'string' && /^\/(?![/\\])[\w\-./?&=%]*$/.test(to) && to.length < 500 ? to : '/fleet'
}

function refuseStranger(request: FastifyRequest, reply: FastifyReply, show: ShowTrouble): FastifyReply {
  const asksForPage = request.method === 'GET' && !wantsJson(request)
  if (!asksForPage || request.headers.authorization !== undefined) return show(request, reply, STRANGER)
  return reply.redirect(`${SIGN_IN}?to=${encodeURIComponent(request.url)}`, 303)
}

const STRANGER: Trouble = {
  status: 401,
  title: 'You are not signed in',
  detail:
    'Sign in with a token of an operator, or send it as Authorization: Bearer. calstream token --operator prints one.',
}
const READ_ONLY: Trouble = {
  status: 403,
  title: 'You may read only',
  detail: 'This changes something. Sign in with a token of an operator: calstream token --operator.',
}
const ELSEWHERE: Trouble = {
  status: 403,
  title: 'This came from another site',
  detail: 'The console takes changes from its own pages alone. Open it again and repeat what you did there.',
}
