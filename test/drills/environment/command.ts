// The command `calstream` of the tree that is drilled, as an operator runs it on this system.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { childEnv } from '../../../infra/stack/infrastructure.ts'
import type { System } from './system.ts'

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const LIMIT_MS = 240_000
const OUTPUT_MAX = 16 * 1024 * 1024

/** Runs it as the owner of the tables, around the proxies. Never rejects. */
export function calstream(
  { stack, env, databaseUrl, tree: own }: Pick<System, 'stack' | 'env' | 'databaseUrl' | 'tree'>,
  args: readonly string[],
  tree = own,
): Promise<Ended> {
  const settings = {
    ...childEnv(process.env),
    ...env,
    POSTGRES_URL: databaseUrl,
    KAFKA_BROKERS: stack.kafka.brokers,
  }
  const script = path.join(tree, 'services', 'cli', 'main.ts')
  const options = { env: settings, timeout: LIMIT_MS, maxBuffer: OUTPUT_MAX }
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [script, ...args], options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}
