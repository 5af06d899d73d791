// What a shell offers after a tab, asked of the shells that every machine has, and of the text for
// the others.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { COMPILED } from '../../support/compiled.ts'

const COMMAND = path.resolve(import.meta.dirname, '../../../services/cli/main.ts')
const run = promisify(execFile)
const env = { PATH: process.env['PATH'], ...COMPILED }
const scripts = new Map<string, string>()

async function calstream(...args: readonly string[]): Promise<string> {
  return (await run(process.execPath, [COMMAND, ...args], { env })).stdout
}

beforeAll(async () => {
  for (const shell of ['bash', 'zsh', 'fish']) scripts.set(shell, await calstream('completion', shell))
})

/** What bash offers at the end of this line; the last word is what was typed of it. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const ask = `${scripts.get('bash')}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _calstream; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout } = await run('bash', ['-c', ask, 'bash', ...words], { env })
  return stdout.trim().split('\n')
}

describe('bash', () => {
  test('offers the commands, the verbs of one, and the options of a verb', async () => {
    expect(await offered('calstream', 'dea')).toEqual(['dead-letters'])
    expect(await offered('calstream', 'gates', '')).toEqual(expect.arrayContaining(['list', 'open', 'close']))
    expect(await offered('calstream', 'dead-letters', 'replay', '--d')).toEqual(['--dry-run'])
    expect(await offered('calstream', 'dead-letters', 'replay', '0/9', '--js')).toEqual(['--json'])
    // The control: nothing is offered that there is not.
    expect(await offered('calstream', 'nothing-like-this')).toEqual([''])
  })
})

describe('each shell', () => {
  test.each(['bash', 'zsh', 'fish'])('%s is given every command that --help lists', async (shell) => {
    const help = await calstream('--help')
    const commands = [...help.slice(help.indexOf('Commands:')).matchAll(/^ {2}([a-z-]+)/gm)].map(
      ([, name = '']) => name,
    )
    expect(commands.length).toBeGreaterThan(20)
    const script = scripts.get(shell) ?? ''
    const words = new Set(script.split(/[^\w-]+/))
    expect(commands.filter((name) => name !== 'help' && !words.has(name))).toEqual([])
  })

  test('that is not known is told which are', async () => {
    const failed = await calstream('completion', 'tcsh').catch((error: { stderr: string }) => error.stderr)
    expect(failed).toContain('There is no completion for "tcsh". It is one of: bash, zsh, fish.')
  })
})
