// Drills side by side, with lanes that are real processes and drill nothing.
import path from 'node:path'
import { expect, test } from 'vitest'
import { allDrills } from '../../drills/catalogue/all.ts'
import { runInLanes, runSideBySide } from '../../drills/lanes.ts'

const program = path.resolve(import.meta.dirname, '../../support/lane-child.ts')

async function run(ids: readonly string[], lanes: number, args: readonly string[] = []) {
  const lines: string[] = []
  const { signal } = new AbortController()
  const ends = await runInLanes(ids, { program, args, lanes, say: (line) => lines.push(line), signal })
  return { ends, lines }
}

test('each drill runs once, in as many processes as there are lanes, and the ends come in the order asked for', async () => {
  const ids = ['A', 'B', 'C', 'D', 'E', 'F']
  const { ends, lines } = await run(ids, 2)
  expect(ends.map(({ id }) => id)).toEqual(ids)
  expect(new Set(ends.map(({ numbers }) => numbers['pid'])).size).toBe(2)
  expect(lines.map((line) => line.replace(/^[12]│ /, '')).toSorted()).toEqual(ids.map((id) => `${id} runs`))
})

test('a lane that dies costs its drill, and the other goes on', async () => {
  const { ends } = await run(['A', 'dies', 'B', 'C'], 2)
  expect(ends.map(({ id, verdict }) => [id, verdict])).toEqual([
    ['A', 'PASS'],
    ['dies', 'ABORTED'],
    ['B', 'PASS'],
    ['C', 'PASS'],
  ])
})

test('there are no more lanes than drills', async () => {
  const { ends } = await run(['A'], 4)
  expect(ends).toHaveLength(1)
})

test('a lane that ends before it is told anything is told of, with what it ended with', async () => {
  const { ends } = await run(['A', 'B'], 2, ['ends at once'])
  expect(ends.map(({ verdict, reason }) => [verdict, reason])).toEqual([
    ['ABORTED', 'the process of its lane ended with 3'],
    ['ABORTED', 'the process of its lane ended with 3'],
  ])
})

test('drills that need the whole machine run one after the other when the lanes are done', async () => {
  const ids = ['first alone', 'A', 'B', 'second alone', 'C', 'D']
  const drills = ids.map((id) => (id.endsWith('alone') ? ({ id, needsMachine: true } as const) : { id }))
  const { signal } = new AbortController()
  const ends = await runSideBySide(drills, { program, args: [], lanes: 2, say: () => {}, signal })

  expect(ends.map(({ id }) => id)).toEqual(ids)
  const alone = ends.filter(({ id }) => id.endsWith('alone'))
  const others = ends.filter((end) => !alone.includes(end))
  const pidsOf = (some: typeof ends) => new Set(some.map(({ numbers }) => numbers['pid']))
  const timesOf = (some: typeof ends) => some.map(({ numbers }) => numbers['at'] ?? Number.NaN)
  expect([pidsOf(others).size, pidsOf(alone).size]).toEqual([2, 1])
  expect(Math.min(...timesOf(alone))).toBeGreaterThanOrEqual(Math.max(...timesOf(others)))
})

test('those that need it are the drills whose criteria have rates of the machine', () => {
  const alone = allDrills().filter(({ needsMachine }) => needsMachine === true)
  expect(alone.map(({ id }) => id).toSorted()).toEqual(['FLOOD', 'REP', 'SCALE'])
})
