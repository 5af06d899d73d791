// A trouble that a person can solve. Its message is the whole story in one line; entries print it
// without a stack and exit 1.

export class Problem extends Error {
  override readonly name = 'Problem'
}

/**
 * The text for a person: one line for a Problem,
 * the stack for anything that should not have happened.
 */
export function describe(error: unknown): string {
  if (error instanceof Problem) return error.message
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
