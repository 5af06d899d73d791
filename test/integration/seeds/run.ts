// Runs the drills' own snippets as they stand: only host, id and token are put in. The snippets
// lie beside this file, verbatim, so that a change of ours that breaks what operators copy out
// of their runbooks is seen.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect } from 'vitest'
import { REPOSITORY } from '../../../infra/stack/services.ts'
import { look } from '../../support/world.ts'

export interface Place {
  /** Base URL of the ingress; the snippets name another host. */
  readonly host: string
  readonly providerId: string
  readonly token: string
}

const HOST = 'https://staging.bookiji.com'
/** The module that the snippet imports is ours under the name that their project gives it. */
const ALIAS = `import { registerHooks } from 'node:module'
registerHooks({ resolve: (name, context, next) =>
  next(name === '@/lib/calendar-sync/flags' ? process.env.FLAGS_URL : name, context) })`
const LIMIT_MS = 60_000

export function snippet(name: string, place: Place): string {
  return readFileSync(path.join(import.meta.dirname, name), 'utf8')
    .replaceAll(HOST, place.host)
    .replaceAll('<provider-id>', place.providerId)
    .replaceAll('<token>', place.token)
}

/** The rows that a snippet's SQL finds. */
export function runSql<R extends object>(name: string, place: Place, databaseUrl: string): Promise<R[]> {
  return look<R>(databaseUrl, snippet(name, place))
}

export interface CurlAnswer {
  readonly status: number
  readonly body: string
}

/**
 * What each curl of the snippet was answered.
 * curl reads from its own settings file how to print the status.
 */
export async function runCurl(name: string, place: Place): Promise<readonly CurlAnswer[]> {
  return inFolder(async (folder) => {
    writeFileSync(path.join(folder, '.curlrc'), 'silent\nwrite-out = "\\n=%{http_code}\\n"\n')
    const printed = await run('bash', ['-s'], { HOME: folder, CURL_HOME: folder }, snippet(name, place))
    return [...printed.matchAll(/([^\n]*)\n=(\d{3})\n/g)].map(([, body = '', status]) => ({
      status: Number(status),
      body,
    }))
  })
}

/**
 * The lines that the snippet's TypeScript prints,
 * in a process of its own that has to end by itself.
 */
export async function runTypeScript(
  name: string,
  place: Place,
  env: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  return inFolder(async (folder) => {
    const file = path.join(folder, 'snippet.ts')
    const alias = path.join(folder, 'alias.mjs')
    writeFileSync(file, snippet(name, place))
    writeFileSync(alias, ALIAS)
    const FLAGS_URL = `file://${path.join(REPOSITORY, 'services/shared/gates/flags.ts')}`
    const printed = await run(process.execPath, ['--import', alias, file], { ...env, FLAGS_URL }, '')
    return printed.trim().split('\n')
  })
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-snippet-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  input: string,
): Promise<string> {
  const child = spawn(command, args, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: 'pipe',
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk.toString()))
  child.stdin.end(input)
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  expect({ code, err: err.join('') }, `${command} of a snippet`).toMatchObject({ code: 0 })
  return out.join('')
}
