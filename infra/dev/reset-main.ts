// `calstream reset` of a clone: a container has no local stack, so its image has no such command.
import { resetStack } from './reset.ts'

try {
  await resetStack()
  process.stdout.write('The local stack is empty; npm start begins afresh.\n')
} catch (error) {
  if (!(error instanceof Error) || error.name !== 'Problem') throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}
