// A part of the local stack that gives up while what it stands on is slow is started again; one
// that never can ends with its reason.
import { expect, test } from 'vitest'
import { UserError } from '#shared/process/user-error.ts'
import { startedInTheEnd } from '../../../../infra/stack/supervise.ts'

function starts(failures: number, signal: AbortSignal = new AbortController().signal) {
  const reasons: string[] = []
  let tried = 0
  const start = async (): Promise<string> => {
    tried += 1
    if (tried <= failures) throw new UserError(`try ${tried}\nits log\nThe registry cannot be reached.`)
    return 'running'
  }
  const how = { failed: (reason: string) => void reasons.push(reason), signal }
  return { running: startedInTheEnd(start, how), reasons, tried: () => tried }
}

test('a start that fails once is repeated, and its reason told in one line', async () => {
  const { running, reasons } = starts(1)
  expect(await running).toBe('running')
  expect(reasons).toEqual(['The registry cannot be reached.'])
})

test('a start that never works ends with the reason of its last try', async () => {
  const { running, tried } = starts(Infinity)
  await expect(running).rejects.toThrow(/^try 5\n/)
  expect(tried()).toBe(5)
})

test('once everything stops nothing is started again', async () => {
  const { running, tried } = starts(Infinity, AbortSignal.abort())
  await expect(running).rejects.toThrow(/^try 1\n/)
  expect(tried()).toBe(1)
})
