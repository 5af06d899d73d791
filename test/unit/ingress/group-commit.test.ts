// Group commit: durable means written, one write at a time, and nobody waits for ever.
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { createGroupCommit, type GroupCommitOptions } from '../../../services/ingress/group-commit.ts'

interface Write {
  readonly items: readonly number[]
  succeed(): void
  fail(error?: Error): void
}

/** A store whose writes end when the test says so. */
function aStore(overrides: Partial<GroupCommitOptions<number>> = {}) {
  const writes: Write[] = []
  const failures: number[] = []
  const refused: number[] = []
  let outstanding = 0
  let outstandingMax = 0
  const commits = createGroupCommit<number>({
    what: 'test',
    write: (items) => {
      outstanding += 1
      outstandingMax = Math.max(outstandingMax, outstanding)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      writes.push({ items: [...items], succeed: resolve, fail: (error = new Error('no')) => reject(error) })
      return promise.finally(() => {
        outstanding -= 1
      })
    },
    groupMax: 100,
    queueMax: 1000,
    waitMaxMs: 10_000,
    drainMaxMs: 10_000,
    onFailure: (_error, items) => failures.push(items),
    onRefused: (_error, item) => refused.push(item),
    ...overrides,
  })
  const write = (index: number): Write => {
    const found = writes[index]
    if (found === undefined) throw new Error(`there is no write ${index}`)
    return found
  }
  return { commits, write, writes, failures, refused, outstandingMax: () => outstandingMax }
}

describe('group commit', () => {
  test('writes the first item at once and everything that arrives meanwhile as the next group', async () => {
    const { commits, write, writes, outstandingMax } = aStore()
    const answers = [1, 2, 3, 4].map((item) => commits.commit(item))
    await turn()
    expect(writes.map(({ items }) => items)).toEqual([[1]])
    write(0).succeed()
    await turn()
    expect(writes.map(({ items }) => items)).toEqual([[1], [2, 3, 4]])
    write(1).succeed()
    expect(await Promise.all(answers)).toEqual(['durable', 'durable', 'durable', 'durable'])
    expect(outstandingMax()).toBe(1)
  })

  test('answers durable only after the write has succeeded', async () => {
    const { commits, write } = aStore()
    let answered = false
    const answer = commits.commit(1).finally(() => {
      answered = true
    })
    await turn()
    expect(answered).toBe(false)
    write(0).succeed()
    expect(await answer).toBe('durable')
  })

  test('takes an item that arrives while a write is under way into the next group, never into that one', async () => {
    const { commits, write, writes } = aStore()
    const first = commits.commit(1)
    await turn()
    const second = commits.commit(1)
    write(0).succeed()
    expect(await first).toBe('durable')
    await turn()
    expect(writes).toHaveLength(2)
    write(1).succeed()
    expect(await second).toBe('durable')
  })

  test('fails exactly the group whose write failed and goes on', async () => {
    const { commits, write, failures } = aStore()
    const first = commits.commit(1)
    const rest = [commits.commit(2), commits.commit(3)]
    await turn()
    write(0).succeed()
    await turn()
    const later = commits.commit(4)
    write(1).fail()
    await turn()
    write(2).succeed()
    expect(await first).toBe('durable')
    expect(await Promise.all(rest)).toEqual(['failed', 'failed'])
    expect(await later).toBe('durable')
    expect(failures).toEqual([2])
  })

  test('takes a write that throws for one that failed', async () => {
    const { commits } = aStore({
      write: () => {
        throw new Error('at once')
      },
    })
    expect(await commits.commit(1)).toBe('failed')
    expect(await commits.commit(2)).toBe('failed')
  })

  test('splits what waits into groups of at most groupMax, in order of arrival', async () => {
    const { commits, write, writes } = aStore({ groupMax: 2 })
    const answers = [1, 2, 3, 4, 5].map((item) => commits.commit(item))
    for (let index = 0; index < 3; index += 1) {
      await turn()
      write(index).succeed()
    }
    await Promise.all(answers)
    expect(writes.map(({ items }) => items)).toEqual([[1], [2, 3], [4, 5]])
  })

  test('refuses at once what does not fit into the queue and keeps what does', async () => {
    const { commits, write } = aStore({ queueMax: 2 })
    const taken = [1, 2, 3].map((item) => commits.commit(item))
    expect(await commits.commit(4)).toBe('overloaded')
    expect(commits.depth()).toBe(3)
    await turn()
    write(0).succeed()
    await turn()
    write(1).succeed()
    expect(await Promise.all(taken)).toEqual(['durable', 'durable', 'durable'])
    expect(commits.depth()).toBe(0)
  })

  test('answers late what was not written in time, and does not write it afterwards', async () => {
    const { commits, write, writes } = aStore({ waitMaxMs: 20 })
    const stuck = commits.commit(1)
    const behind = commits.commit(2)
    expect(await stuck).toBe('late')
    expect(await behind).toBe('late')
    expect(commits.depth()).toBe(1)
    write(0).succeed()
    const next = commits.commit(3)
    await turn()
    write(1).succeed()
    expect(await next).toBe('durable')
    expect(writes.map(({ items }) => items)).toEqual([[1], [3]])
  })

  test('finishes what it holds when closed, and takes nothing new', async () => {
    const { commits, write } = aStore()
    const taken = [commits.commit(1), commits.commit(2)]
    const closed = commits[Symbol.asyncDispose]()
    expect(await commits.commit(3)).toBe('closing')
    await turn()
    write(0).succeed()
    await turn()
    write(1).succeed()
    expect(await Promise.all(taken)).toEqual(['durable', 'durable'])
    await closed
  })

  test('ends closing after drainMaxMs also when the store hangs, and answers what it gave up', async () => {
    const { commits } = aStore({ drainMaxMs: 20 })
    const taken = [commits.commit(1), commits.commit(2)]
    await commits[Symbol.asyncDispose]()
    expect(await Promise.all(taken)).toEqual(['closing', 'closing'])
  })

  test('puts aside what is refused for what it is, and its neighbours are durable', async () => {
    const poison = new Set([3, 77])
    const groups: (readonly number[])[] = []
    const { commits, refused, failures } = aStore({
      write: async (items) => {
        groups.push(items)
        if (items.some((item) => poison.has(item))) throw new Failure('store/rejected-data')
      },
    })
    const answers = await Promise.all(Array.from({ length: 100 }, (_, item) => commits.commit(item)))
    expect(answers.flatMap((answer, item) => (answer === 'durable' ? [] : [`${item} ${answer}`]))).toEqual([
      '3 refused',
      '77 refused',
    ])
    expect([refused, failures]).toEqual([[3, 77], []])
    // Some 2 × log2(100) writes for each, not one for each item.
    expect(groups.length).toBeLessThan(35)
  })

  test('of nothing but poison ends, and the next group is written', async () => {
    const { commits, refused } = aStore({
      write: async (items) => {
        if (items.some((item) => item < 0)) throw new Failure('kafka/rejected')
      },
    })
    expect(await Promise.all([-1, -2, -3].map((item) => commits.commit(item)))).toEqual([
      'refused',
      'refused',
      'refused',
    ])
    expect(await commits.commit(1)).toBe('durable')
    expect(refused).toEqual([-1, -2, -3])
  })

  test('fails whole when the other side is away, also while a group is taken apart', async () => {
    let writes = 0
    const { commits, refused, failures } = aStore({
      write: async () => {
        writes += 1
        throw new Failure(writes <= 2 ? 'store/rejected-data' : 'store/unavailable')
      },
    })
    // The first is a group of its own.
    const answers = await Promise.all([1, 2, 3].map((item) => commits.commit(item)))
    expect(answers).toEqual(['refused', 'failed', 'failed'])
    expect([refused, failures]).toEqual([[1], [2]])
  })
})
