// Reading admin bodies: a body that does not fit is a RangeError whose text names every problem;
// the API answers it with 400.
import { z } from 'zod'

/** Answered with 404. */
export class NotFound extends Error {
  override readonly name = 'NotFound'
}

/** The body as its schema says; an empty body counts as `{}`. Throws SyntaxError or RangeError. */
export function parseBody<T>(schema: z.ZodType<T>, body: string): T {
  const parsed = schema.safeParse(body === '' ? {} : JSON.parse(body))
  if (parsed.success) return parsed.data
  throw new RangeError(z.prettifyError(parsed.error))
}
