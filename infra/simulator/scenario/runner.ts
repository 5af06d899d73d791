// Runs a scenario on the simulated clock: each step through the admin API at its time, in the order
// of the file, its answer or its failure kept. The journal knows how far it came, so that a restart
// goes on where it stopped.
import type { SimulatorClock } from '../clock/clock.ts'
import type { Answer } from '../http.ts'
import type { World } from '../world/world.ts'
import { type Lookup, type Plan, readPlan, resolve, resolvePath, type Step } from './plan.ts'

const FAILURES_KEPT = 100

export interface ScenarioState {
  readonly name: string
  /** RFC 3339, simulated. */
  readonly startedAt: string
  readonly steps: number
  readonly ran: number
  readonly finished: boolean
  readonly failures: readonly { readonly place: string; readonly at: number; readonly error: string }[]
}

export interface ScenarioRunner {
  /**
   * Starts a scenario in place of the one before; its steps at 0 have run when this resolves.
   * Throws RangeError or SyntaxError when it cannot be run.
   */
  start(text: string): Promise<ScenarioState>
  /** Goes on with the scenario that the journal brought back, if there is one. */
  resume(): void
  cancel(): void
  /** null when there is none. */
  read(): ScenarioState | null
  /** Resolves when no step is under way. */
  idle(): Promise<void>
}

export interface RunnerDeps {
  readonly clock: SimulatorClock
  readonly world: World
  readonly lookup: Lookup
  /** One call of the admin API, with what it makes up drawn from a seed. */
  readonly dispatch: (call: {
    readonly method: string
    readonly path: string
    readonly body: string
    readonly seed: string
  }) => Promise<Answer>
}

interface Run {
  readonly plan: Plan
  readonly startedAt: number
  readonly names: Map<string, unknown>
  readonly failures: { place: string; at: number; error: string }[]
  ran: number
}

export function createScenarioRunner(deps: RunnerDeps): ScenarioRunner {
  let run: Run | null = null
  let working: Promise<void> = Promise.resolve()
  let cancelTimer = () => {}
  const work = (): Promise<void> => {
    working = working.then(() => runDue(deps, run))
    return working.then(schedule)
  }
  const schedule = (): void => {
    cancelTimer()
    const next = run?.plan.steps[run.ran]
    if (!run || !next) return
    const due = run.startedAt + next.at - deps.clock.now()
    cancelTimer = deps.clock.after(due, () => void work())
  }
  const begin = (text: string, startedAt: number): Run => {
    const plan = readPlan(text, deps.lookup)
    return { plan, startedAt, names: new Map(), failures: [], ran: 0 }
  }
  return {
    async start(text) {
      const next = begin(text, deps.clock.now())
      await working
      run = next
      deps.world.keepScenario({ text, startedAt: next.startedAt, ran: 0, names: [] })
      await work()
      return show(next)
    },
    resume() {
      const kept = deps.world.scenario
      if (!kept) return
      run = begin(kept.text, kept.startedAt)
      run.ran = kept.ran
      for (const [name, value] of kept.names) run.names.set(name, value)
      schedule()
    },
    cancel() {
      cancelTimer()
      run = null
      deps.world.keepScenario(null)
    },
    read: () => (run ? show(run) : null),
    idle: () => working,
  }
}

/** Every step whose time has come, one after the other. */
async function runDue(deps: RunnerDeps, run: Run | null): Promise<void> {
  if (!run) return
  const { plan, names } = run
  for (let step = plan.steps[run.ran]; step; step = plan.steps[run.ran]) {
    if (run.startedAt + step.at > deps.clock.now()) return
    // Counted before it is done: a step that was under way when the process died is not done twice.
    run.ran += 1
    const error = await runStep(deps, run, step)
    if (error !== null && run.failures.length < FAILURES_KEPT)
      run.failures.push({ place: step.place, at: step.at, error })
    deps.world.keepScenarioStep(run.ran, step.as === null ? null : [step.as, names.get(step.as)])
  }
}

async function runStep(deps: RunnerDeps, run: Run, step: Step): Promise<string | null> {
  try {
    const path = resolvePath(step.path, run.names)
    const body = step.body === undefined ? '' : JSON.stringify(resolve(step.body, run.names))
    const seed = `${run.plan.seed}/${run.ran}`
    const answer = await deps.dispatch({ method: step.method, path, body, seed })
    if (answer.status >= 400) return `${answer.status}: ${JSON.stringify(answer.body)}`
    if (step.as !== null) run.names.set(step.as, answer.body)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function show(run: Run): ScenarioState {
  const { plan, startedAt, failures, ran } = run
  return {
    name: plan.name,
    startedAt: new Date(startedAt).toISOString(),
    steps: plan.steps.length,
    ran,
    finished: ran === plan.steps.length,
    failures,
  }
}
