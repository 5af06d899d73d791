// Drills side by side. Each lane is a process with its own infrastructure: what one drill breaks is
// no other's. A judge that reads ledgers for seconds delays no other lane's proxies. A lane takes
// the next drill when it is done with one.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Drill, Verdict } from './drill.ts'

/** What is left of a drill when its ledgers are closed. */
export interface DrillEnd {
  readonly id: string
  readonly title: string
  readonly faults: readonly string[]
  readonly verdict: Verdict
  /** The gravest reason why it is not PASS. */
  readonly reason: string | null
  readonly numbers: Readonly<Record<string, number>>
}

export interface LaneOptions {
  /** The program that runs a lane, and how it is called. */
  readonly program: string
  readonly args: readonly string[]
  readonly lanes: number
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

/**
 * Runs each of these drills once: in lanes, then one after the other those that need the whole
 * machine. The ends come in the order of the drills.
 */
export async function runSideBySide(
  drills: readonly Pick<Drill, 'id' | 'needsMachine'>[],
  options: LaneOptions,
): Promise<readonly DrillEnd[]> {
  const ids = drills.map(({ id }) => id)
  const alone = drills.filter(({ needsMachine }) => needsMachine === true).map(({ id }) => id)
  const others = ids.filter((id) => !alone.includes(id))
  const ends = [
    ...(await runInLanes(others, options)),
    ...(await runInLanes(alone, { ...options, lanes: 1 })),
  ]
  return ends.toSorted((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id))
}

/**
 * Runs each of these drills once. Resolves when all lanes have taken their infrastructure down. A
 * lane that dies costs its drill.
 */
export async function runInLanes(ids: readonly string[], options: LaneOptions): Promise<readonly DrillEnd[]> {
  const queue = [...ids]
  const ends: DrillEnd[] = []
  const count = Math.min(options.lanes, ids.length)
  await Promise.all(Array.from({ length: count }, (_, index) => runLane(index + 1, queue, ends, options)))
  return ends.toSorted((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id))
}

async function runLane(lane: number, queue: string[], ends: DrillEnd[], options: LaneOptions): Promise<void> {
  const child = fork(options.program, options.args, {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const closed = once(child, 'close')
  const stop = () => void child.kill('SIGTERM')
  options.signal.addEventListener('abort', stop)
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', (line) => options.say(`${lane}│ ${line}`))
  try {
    while (!options.signal.aborted) {
      const id = queue.shift()
      if (id === undefined) break
      const end = await runOne(child, id, closed)
      ends.push(end)
      if (!child.connected) break
    }
  } finally {
    if (child.connected) child.send({ end: true }, ignored)
    await closed
    options.signal.removeEventListener('abort', stop)
  }
}

async function runOne(child: ChildProcess, id: string, closed: Promise<unknown>): Promise<DrillEnd> {
  const answer = once(child, 'message').then(([message]) => message as DrillEnd)
  child.send({ id }, ignored)
  const died = closed.then((): DrillEnd => ({
    id,
    title: '',
    faults: [],
    verdict: 'ABORTED',
    reason: `the process of its lane ended with ${child.signalCode ?? child.exitCode}`,
    numbers: {},
  }))
  return Promise.race([answer, died])
}

/**
 * A channel that breaks is a lane that ends; `closed` says so. Otherwise `send` would fail the run.
 */
function ignored(): void {}

/** The other side: obeys until it is told to end. Only in a process that runInLanes forked. */
export async function serveLane(run: (id: string) => Promise<DrillEnd>): Promise<void> {
  for (;;) {
    const [message] = (await once(process, 'message')) as [{ id?: string; end?: true }]
    if (message.id === undefined) break
    process.send?.(await run(message.id))
  }
  process.disconnect()
}
