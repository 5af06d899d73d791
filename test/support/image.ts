// The image without an engine: the lines of infra/Dockerfile that make its files, carried out in a
// folder. What a base image brings and what becomes of users and layers is not shown.
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { removeBehind } from './remove-behind.ts'

export const REPOSITORY = path.resolve(import.meta.dirname, '../..')
const STEP_WITHIN_MS = 300_000

export interface Instruction {
  readonly word: string
  readonly rest: string
}

/** The instructions of one stage of a Dockerfile, FROM left out. */
export function stageOf(dockerfile: string, name: string): readonly Instruction[] {
  const instructions = dockerfile
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .flatMap((line): Instruction[] => {
      const [, word, rest] = /^([A-Z]+)\s+(.+)$/.exec(line.trim()) ?? []
      return word === undefined || rest === undefined ? [] : [{ word, rest: rest.trim() }]
    })
  const from = instructions.findIndex(({ word, rest }) => word === 'FROM' && rest.endsWith(` AS ${name}`))
  const after = instructions.slice(from + 1)
  const next = after.findIndex(({ word }) => word === 'FROM')
  return from === -1 ? [] : after.slice(0, next === -1 ? undefined : next)
}

export interface Built extends AsyncDisposable {
  /** The folders of the stages `packages` and `service`. */
  readonly packages: string
  readonly app: string
}

/**
 * Carries out the stage `packages`, then what `runtime` and `service` copy.
 * @param beforeTrim is called with the folder of packages before the line that trims them.
 */
export async function buildImage(beforeTrim: (packages: string) => void): Promise<Built> {
  const home = mkdtempSync(path.join(tmpdir(), 'calstream-image-'))
  const dockerfile = readFileSync(path.join(REPOSITORY, 'infra/Dockerfile'), 'utf8')
  const packages = path.join(home, 'calstream')
  const app = path.join(home, 'app')
  for (const folder of [packages, app]) mkdirSync(folder)
  const env = { ...process.env, PATH: `${await npmWithSbom(home)}${process.env['PATH'] ?? ''}` }
  for (const { word, rest } of stageOf(dockerfile, 'packages')) {
    if (word === 'COPY') copy(rest, home, packages)
    if (word !== 'RUN') continue
    if (rest.includes('trim.ts')) beforeTrim(packages)
    const line = rest.replace('npm ci', 'npm ci --prefer-offline')
    await promisify(execFile)('bash', ['-euc', line], { cwd: packages, env, timeout: STEP_WITHIN_MS })
  }
  for (const stage of ['runtime', 'service'])
    for (const { word, rest } of stageOf(dockerfile, stage)) if (word === 'COPY') copy(rest, home, app)
  return {
    packages,
    app,
    async [Symbol.asyncDispose]() {
      removeBehind(home)
    },
  }
}

/** `COPY a b folder/`: each source under its own name, as Docker does it for files. */
function copy(words: string, home: string, into: string): void {
  const [from, ...others] = words.split(/\s+/)
  const sources = from?.startsWith('--from=') ? others.slice(0, -1) : [from ?? '', ...others.slice(0, -1)]
  const root = from?.startsWith('--from=') ? home : REPOSITORY
  for (const source of sources)
    cpSync(path.join(root, source), path.join(into, path.basename(source)), {
      recursive: true,
      mode: 0,
      // As .dockerignore leaves them out.
      filter: (name) => !name.startsWith(path.join(REPOSITORY, 'node_modules')),
    })
}

/**
 * The base image brings npm 11. Older ones, as Debian's 9.2, cannot list packages, so a folder for
 * PATH is made in which `npm` is a newer one; empty where none is needed.
 */
async function npmWithSbom(home: string): Promise<string> {
  const { stdout } = await promisify(execFile)('npm', ['--version'])
  if (Number(stdout.split('.')[0]) >= 10) return ''
  const { stdout: old } = await promisify(execFile)('bash', ['-c', 'command -v npm'])
  const folder = path.join(home, 'bin')
  mkdirSync(folder)
  const script = `#!/bin/sh\nexec ${old.trim()} exec --yes --package=npm@11 -- npm "$@"\n`
  writeFileSync(path.join(folder, 'npm'), script, { mode: 0o755 })
  return `${folder}${path.delimiter}`
}
