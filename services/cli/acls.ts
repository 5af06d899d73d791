// `calstream acls`: the rights of our users on Kafka.
import { applyAcls, ourPrincipals, plannedRights, type Right, verifyAcls } from '#shared/kafka/acls.ts'
import { UserError } from '#shared/process/user-error.ts'
import { cliLogger, kafkaOf } from './open.ts'
import { complain, type Output } from './output.ts'

export interface AclsOptions {
  /** `name=principal`, where Kafka calls a user otherwise. */
  readonly principal?: readonly string[]
}

/**
 * Shows the rights (print), gives what is missing (apply), or only looks (verify). Sets the exit
 * code when something is not as it must be. Throws UserError, Failure `kafka/*`.
 */
export async function runAcls(
  verb: 'print' | 'apply' | 'verify',
  options: AclsOptions,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const config = { ...kafkaOf(env), principals: principalsOf(options.principal ?? []) }
  if (verb === 'print') return output.rows(plannedRights(config).map(rowOf))
  const report = await (verb === 'apply' ? applyAcls(config, cliLogger()) : verifyAcls(config, cliLogger()))
  output.rows(report.rights.map((one) => ({ state: one.state, ...rowOf(one) })))
  for (const problem of report.problems) complain(problem)
  if (report.problems.length > 0) process.exitCode = 1
}

function rowOf({ principal, operation, resource, pattern, name }: Right) {
  return { principal, operation, resource, pattern, name }
}

function principalsOf(given: readonly string[]): ReadonlyMap<string, string> {
  const known = ourPrincipals()
  return new Map(
    given.map((text) => {
      const at = text.indexOf('=')
      const [name, principal] = [text.slice(0, at), text.slice(at + 1)]
      if (!known.includes(name) || !/^\w+:./.test(principal))
        throw new UserError(
          `--principal must be <user>=<type>:<name>, for example calstream-sync=User:CN=sync. The users are ${known.join(', ')}.`,
        )
      return [name, principal] as const
    }),
  )
}
