// What a person can put right. Its message is the whole story: it is printed without a
// stack, and a process that ends by it ends with 1.
import { Failure } from '#shared/domain/failure.ts'

/** A mistake that a person reads of in a sentence. */
export class UserError extends Error {
  override readonly name: string = 'UserError'
}

/** Whether the message says all that a person needs; a defect of ours needs its stack. */
export function isForPeople(error: unknown): boolean {
  return error instanceof UserError || error instanceof Failure
}

/** An error as text for a person. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return isForPeople(error) ? error.message : (error.stack ?? error.message)
}
