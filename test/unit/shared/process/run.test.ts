// The life of a process, as real processes:
// signals, exit codes, what is printed, and that a stop always ends.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { COMPILED } from '../../../support/compiled.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs `body` as the start function of a service; `print` writes a line at once. */
function service(body: string): {
  child: ChildProcess
  ended: Promise<Ended>
  printed: (text: string) => Promise<void>
} {
  const script = `
    import { writeSync } from 'node:fs'
    import { ConfigError } from '#shared/process/settings.ts'
    import { Failure } from '#shared/domain/failure.ts'
    import { run } from '#shared/process/run.ts'
    import { UserError } from '#shared/process/user-error.ts'
    const print = (line) => writeSync(1, line + '\\n')
    const keepAlive = () => setInterval(() => {}, 1000)
    await run('test', async (signal) => { ${body} })
    print('after run')
  `
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], ...COMPILED },
    timeout: 18_000,
    killSignal: 'SIGKILL',
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, out, err })))
  const printed = async (text: string) => {
    await expect.poll(() => out, { timeout: 15_000 }).toContain(text)
  }
  return { child, ended, printed }
}

describe('a process', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'stops its parts in reverse order on %s and ends with 0',
    async (signal) => {
      const { child, ended, printed } = service(`
      await using stack = new AsyncDisposableStack()
      const timer = keepAlive()
      stack.defer(async () => { clearInterval(timer); print('database closed') })
      stack.defer(async () => print('consumer closed'))
      print('started')
      return stack.move()
    `)
      await printed('started')
      child.kill(signal)
      expect(await ended).toMatchObject({
        code: 0,
        out: 'started\nconsumer closed\ndatabase closed\nafter run\n',
        err: '',
      })
    },
  )

  test('takes a second and third signal as the first one: the stop goes on', async () => {
    const { child, ended, printed } = service(`
      const timer = keepAlive()
      print('started')
      return { async [Symbol.asyncDispose]() {
        print('stopping')
        await new Promise((resolve) => setTimeout(resolve, 400))
        clearInterval(timer)
        print('stopped')
      } }
    `)
    await printed('started')
    child.kill('SIGINT')
    await printed('stopping')
    child.kill('SIGINT')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({
      code: 0,
      out: expect.stringContaining('stopped\nafter run') as string,
    })
  })

  test('cuts a stop off that hangs for 10 s, and ends with 1', async () => {
    const { child, ended, printed } = service(`
      keepAlive()
      print('started')
      return { [Symbol.asyncDispose]: () => new Promise(() => {}) }
    `)
    await printed('started')
    child.kill('SIGTERM')
    const { code, out } = await ended
    expect(code).toBe(1)
    expect(out).toContain('did not stop within 10 s')
  })

  test('ends although something still holds the event loop after everything was stopped', async () => {
    const { child, ended, printed } = service(`
      keepAlive()
      print('started')
      return { async [Symbol.asyncDispose]() {} }
    `)
    await printed('started')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  })

  // A pipe that no one writes to stands for a name server that does not answer: the wait for either
  // sits in one of Node's threads, and process.exit would wait for it. The child would be killed
  // after 18 s then, and its code be null.
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-run-'))
  const pipe = path.join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  afterAll(() => rmSync(folder, { recursive: true }))
  const BUSY_THREAD = `
    const { open } = await import('node:fs')
    open(${JSON.stringify(pipe)}, 'r', () => {})
  `

  test('ends with 0 while name lookups are under way that nobody answers', async () => {
    const { child, ended, printed } = service(`
      ${BUSY_THREAD}
      print('started')
      return { async [Symbol.asyncDispose]() { print('stopped') } }
    `)
    await printed('started')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0, out: 'started\nstopped\nafter run\n', err: '' })
  })

  test.each([
    ['a stop that hangs', 1, `return { [Symbol.asyncDispose]: () => new Promise(() => {}) }`],
    [
      'an error that nobody handled',
      1,
      `setTimeout(() => { throw new Error('forgotten') }, 100)
       return { async [Symbol.asyncDispose]() {} }`,
    ],
    ['a start that failed', 1, `throw new Error('no start')`],
  ])('ends with its code after %s too, while lookups are under way', async (_what, code, statement) => {
    const { child, ended, printed } = service(`
      ${BUSY_THREAD}
      print('started')
      ${statement}
    `)
    await printed('started')
    child.kill('SIGTERM')
    expect((await ended).code).toBe(code)
  })

  test('prints one line per wrong setting and ends with 1', async () => {
    const { code, err, out } = await service(`throw new ConfigError(['A is not set.', 'B is wrong.'])`).ended
    expect(code).toBe(1)
    expect(err).toBe(
      'calstream test could not start or stop. The settings cannot be used:\n  A is not set.\n  B is wrong.\n',
    )
    expect(out).toBe('after run\n')
  })

  test('tells a failed start in one line, gives back what was acquired, and ends with 1', async () => {
    const { code, err, out } = await service(`
      await using stack = new AsyncDisposableStack()
      stack.defer(async () => print('given back'))
      throw new Failure('kafka/unavailable')
    `).ended
    expect(code).toBe(1)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
    expect(err).toContain('Kafka cannot be reached')
    expect(out).toBe('given back\nafter run\n')
  })

  test('tells a mistake of a person in its own sentence, without a stack', async () => {
    const { code, err, out } = await service(`throw new UserError('The port is taken.')`).ended
    expect(code).toBe(1)
    expect(err).toBe('calstream test could not start or stop. The port is taken.\n')
    expect(out).toBe('after run\n')
  })

  test('logs the stack of an error that is not one of ours', async () => {
    const { code, err, out } = await service(`throw new TypeError('x is not a function')`).ended
    expect(code).toBe(1)
    expect(err).toContain('x is not a function')
    expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({ level: 'fatal', err: { name: 'TypeError' } })
  })

  test('ends with 0 when it is told to stop while it starts', async () => {
    const { child, ended, printed } = service(`
      print('starting')
      keepAlive()
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    `)
    await printed('starting')
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0, err: '' })
  })

  test.each([
    ['a rejection', `Promise.reject(new Error('forgotten'))`],
    ['an exception', `setTimeout(() => { throw new Error('forgotten') }, 10)`],
  ])('logs %s that nobody handled as fatal and ends with 1', async (_what, statement) => {
    const { code, out } = await service(
      `keepAlive(); ${statement}; return { async [Symbol.asyncDispose]() {} }`,
    ).ended
    expect(code).toBe(1)
    expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({
      level: 'fatal',
      err: { message: 'forgotten' },
    })
  })

  test('stops in order and ends with 1 when its service cannot go on', async () => {
    const { code, out } = await service(`
      const timer = keepAlive()
      return {
        crashed: Promise.resolve(new Error('the consumer died')),
        async [Symbol.asyncDispose]() { clearInterval(timer); print('stopped in order') },
      }
    `).ended
    expect(code).toBe(1)
    expect(out).toContain('the consumer died')
    expect(out).toContain('stopped in order')
  })
})
