// `calstream reset` of a clone: a container has no local stack, so its image has no such command.
import { UserError } from '#shared/process/user-error.ts'
import { resetStack } from './reset.ts'

try {
  await resetStack()
  process.stdout.write('The local stack is empty; npm start begins afresh.\n')
} catch (error) {
  if (!(error instanceof UserError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}
