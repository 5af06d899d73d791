// A lane without an infrastructure: says which process it is, and dies when it is told to.
import { serveLane } from '../drills/lanes.ts'

if (process.argv.includes('ends at once')) process.exit(3)
await serveLane(async (id) => {
  if (id === 'dies') process.exit(1)
  process.stdout.write(`${id} runs\n`)
  const numbers = { pid: process.pid, at: Date.now() }
  return { id, title: id, faults: [], verdict: 'PASS', reason: null, numbers }
})
