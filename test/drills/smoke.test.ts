// The smoke drills: the smallest form of the drills that find the most, inside `npm test`. They
// have their own stack, because they stop and freeze parts of it.
import path from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { chosenDrills } from './catalogue/all.ts'
import { startDrillStack, type DrillStack } from './environment/stack.ts'
import { runDrill } from './run-drill.ts'

/**
 * Together about two minutes on an idle machine. `npm run drill` runs CRASH, chaos and the others.
 */
const SMOKE = ['GD-1', 'OUT-2', 'KILL']
const START_MS = 150_000
const DRILL_MS = 400_000
const SEED = 20_261_121

let stack: DrillStack | null = null

beforeAll(async () => {
  const folder = path.join(inject('stack').folder, 'own-drills')
  stack = await startDrillStack({ folder, env: process.env, say: () => {} }, AbortSignal.timeout(START_MS))
}, START_MS)

afterAll(async () => {
  await stack?.[Symbol.asyncDispose]()
}, START_MS)

test.each(SMOKE)(
  'the drill %s passes in its smallest form',
  async (id) => {
    const [drill] = chosenDrills([id], 'smoke')
    const said: string[] = []
    const result = await runDrill(drill!, {
      stack: stack!,
      profile: 'smoke',
      seed: SEED,
      say: (line) => said.push(line),
      signal: AbortSignal.timeout(DRILL_MS),
    })
    expect(result.reasons, said.join('\n')).toEqual([])
    expect(result.verdict).toBe('PASS')
  },
  DRILL_MS,
)
