// What a route takes, by name: everything else is refused and told what would do. A
// filter with a typing error must not answer with the whole list, nor a request with one
// do half of what was meant.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import { jsonObject } from './caller.ts'

interface Members {
  readonly query?: readonly string[]
  readonly body?: readonly string[]
}

/** Longer names are cut in the answer. */
const NAME_MAX = 40

/**
 * A preHandler that answers 400 to a member that is not listed, or that comes twice. A body that is
 * no JSON object is left to the handler, and refused where none is taken.
 */
export function takes({ query = [], body = [] }: Members) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const problem =
      oddMember(request.query as Record<string, unknown>, query, 'query') ?? oddBody(request.body, body)
    return problem === null ? undefined : sendProblem(reply, problem)
  }
}

function oddBody(given: unknown, known: readonly string[]): ProblemDetails | null {
  const object = jsonObject(given)
  if (object !== null) return oddMember(object, known, 'body')
  return known.length > 0 ? null : badRequest(takesNothingIn('body'))
}

function takesNothingIn(where: 'query' | 'body'): string {
  return `This route takes nothing in its ${where}.`
}

function oddMember(
  given: Readonly<Record<string, unknown>>,
  known: readonly string[],
  where: 'query' | 'body',
): ProblemDetails | null {
  for (const [name, value] of Object.entries(given)) {
    const told = name.length > NAME_MAX ? `${name.slice(0, NAME_MAX)}…` : name
    if (!known.includes(name)) {
      const choice = known.length === 0 ? takesNothingIn(where) : `Its ${where} takes ${known.join(', ')}.`
      return badRequest(`"${told}" is not known here. ${choice}`)
    }
    // In a query it comes as a list; a member of a body that should be none
    // is its route's to refuse.
    if (where === 'query' && typeof value !== 'string') return badRequest(`${told} is given more than once.`)
  }
  return null
}
