// The life of one drill, in order:
// - open the system, steady state before
// - the method under watch, rollback whatever happens
// - recovery, steady state after
// - ledgers closed, invariants, witnesses, verdict
// Invariant: PASS needs all of it. What could not be shown is INVALID.
import { currentLogin, KAFKA_PRINCIPALS } from '../../infra/stack/secured.ts'
import { DATABASE_ROLES } from '../../infra/stack/secrets.ts'
import { judgeInvariants, ALWAYS } from './checkers/invariants.ts'
import type { CheckResult, InvariantId } from './checkers/check.ts'
import { currentRolePassword } from './environment/roles.ts'
import { openSystem, type System } from './environment/system.ts'
import type { DrillStack } from './environment/stack.ts'
import { type Finding, met, mismatch, toldOf } from './criterion.ts'
import { DrillFailed, DrillInvalid, sizeOf } from './drill.ts'
import type { Drill, Frozen, Judge, Judgement, Profile, Verdict, Witness } from './drill.ts'
import { freezeLedgers } from './ledgers/freeze.ts'
import type { Ledgers, Marks } from './ledgers/ledgers.ts'
import { startObserver } from './ledgers/observe.ts'
import { openMethod, type Method } from './method.ts'

export interface RunOptions {
  readonly stack: DrillStack
  readonly profile: Profile
  readonly seed: number
  readonly say: (line: string) => void
  readonly signal: AbortSignal
  /** Root of the services' tree; the repository by default. */
  readonly tree?: string
  /** Cuts every wait for rest, for runs that are expected to fail. */
  readonly patienceMs?: number
  /**
   * Gets the end of the system, which takes seconds, so that the next drill may begin meanwhile.
   * Never rejects. Without it the drill waits.
   */
  readonly tidy?: (ending: Promise<void>) => void
}

export interface DrillResult {
  readonly drill: Drill
  readonly profile: Profile
  readonly seed: number
  readonly verdict: Verdict
  /** Why it is not PASS, the gravest first. */
  readonly reasons: readonly string[]
  readonly criteria: ReadonlyMap<string, { readonly verdict: Verdict; readonly evidence: string }>
  readonly invariants: readonly CheckResult[]
  readonly witnesses: readonly Witness[]
  readonly numbers: Readonly<Record<string, number>>
  /** null when the drill never came so far. */
  readonly ledgers: Ledgers | null
  readonly startedAt: number
  readonly endedAt: number
}

const STEADY_WITHIN_MS = 90_000
const REASONS_SHOWN = 12
const OPEN_ATTEMPTS = 3

/** Carries out one drill. Never rejects: whatever goes wrong is a verdict. */
export async function runDrill(drill: Drill, options: RunOptions): Promise<DrillResult> {
  const startedAt = Date.now()
  const result = (outcome: Outcome): DrillResult => ({
    drill,
    profile: options.profile,
    seed: options.seed,
    startedAt,
    endedAt: Date.now(),
    ...outcome,
  })
  let system: System | null = null
  try {
    options.say('starts the system')
    system = await openPatiently(drill, options)
    return result(await drillSystem(drill, system, { ...options, startedAt }))
  } catch (error) {
    return result(aborted(drill, 'ABORTED', [`the system could not be drilled: ${textOf(error)}`]))
  } finally {
    const ending =
      system?.[Symbol.asyncDispose]().catch((error: unknown) =>
        options.say(`cleaning up: ${textOf(error)}`),
      ) ?? Promise.resolve()
    if (options.tidy) options.tidy(ending)
    else await ending
  }
}

/**
 * An overloaded machine, or a just healed infrastructure, gets a second chance: nothing was drilled
 * yet.
 */
async function openPatiently(drill: Drill, options: RunOptions): Promise<System> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await openSystem(options.stack, {
        label: drill.id.toLowerCase(),
        seed: options.seed,
        ...(options.tree === undefined ? {} : { tree: options.tree }),
        ...drill.system(sizeOf(options.profile)),
      })
    } catch (error) {
      if (attempt >= OPEN_ATTEMPTS || options.signal.aborted) throw error
      options.say(`the system did not start (${textOf(error).split('\n')[0]}); once more`)
    }
  }
}

type Outcome = Omit<DrillResult, 'drill' | 'profile' | 'seed' | 'startedAt' | 'endedAt'>

async function drillSystem(
  drill: Drill,
  system: System,
  options: RunOptions & { readonly startedAt: number },
): Promise<Outcome> {
  await using observer = startObserver(system)
  const method = openMethod(drill, system, options)
  options.say(`waits for the steady state of ${system.accounts.length} connections`)
  const before = await method.ready(Math.min(STEADY_WITHIN_MS, options.patienceMs ?? Infinity))
  const steadyAt = Date.now()
  if (before === null) options.say(`steady after ${seconds(steadyAt - options.startedAt)}; the method begins`)
  else options.say(`no steady state: ${before}`)
  // Without a steady state the method must not run; what is wrong already is judged all the same.
  const { judge, failure } =
    before === null
      ? await carryOut(drill, method)
      : { judge: null, failure: { verdict: 'ABORTED' as const, reason: `no steady state before: ${before}` } }
  const healedAt = Date.now()
  const after =
    before ?? (await method.settle(Math.min(drill.recoverWithinMs, options.patienceMs ?? Infinity)))
  const convergedAt = after === null ? Date.now() : null
  options.say(
    after === null ? `at rest ${seconds(Date.now() - healedAt)} after the heal` : `not at rest: ${after}`,
  )
  // A stopped run tells nothing about the system.
  if (options.signal.aborted) return aborted(drill, 'ABORTED', ['stopped from outside'])
  const marks: Marks = {
    startedAt: options.startedAt,
    steadyAt,
    healedAt,
    convergedAt,
    endedAt: Date.now(),
  }
  const { nemesis, requests } = method
  const ledgers = await freezeLedgers({
    system,
    observer,
    nemesis,
    requests,
    secrets: secretsOf(system),
    marks,
  })
  return judgeAll(drill, { judge, failure, after, ledgers })
}

interface Carried {
  readonly judge: Judge | null
  readonly failure: { readonly verdict: Verdict; readonly reason: string } | null
}

/** The method, its stop conditions, and the rollback in any case. */
async function carryOut(drill: Drill, method: Method): Promise<Carried> {
  let carried: Carried
  try {
    const judge = await Promise.race([drill.run(method.run), method.stopped(drill.wallMs)])
    carried = { judge, failure: null }
  } catch (error) {
    const verdict =
      error instanceof DrillFailed ? 'FAIL' : error instanceof DrillInvalid ? 'INVALID' : 'ABORTED'
    carried = { judge: null, failure: { verdict, reason: textOf(error) } }
  }
  const unhealed = await method.rollBack()
  if (unhealed.length === 0) return carried
  const reason = `the fault was not seen to be gone: ${unhealed.join('; ')}`
  return { ...carried, failure: carried.failure ?? { verdict: 'INVALID', reason } }
}

interface Closed extends Carried {
  readonly after: string | null
  readonly ledgers: Ledgers
}

/** The verdict, from what is closed. */
export function judgeAll(drill: Drill, { judge, failure, after, ledgers }: Closed): Outcome {
  const skipped = new Set(Object.keys(drill.without ?? {}))
  const ids = [...new Set([...ALWAYS, ...drill.invariants])].filter((id) => !skipped.has(id))
  const invariants = judgeInvariants(ids, ledgers)
  const judgement = judge ? judge(frozen(ledgers, invariants)) : { criteria: {}, witnesses: [] }
  const blames: { readonly verdict: Verdict; readonly reason: string }[] = []
  const blame = (verdict: Verdict, reason: string) => void blames.push({ verdict, reason })
  for (const { id, verdict, failed, failures, title } of invariants.values()) {
    if (verdict === 'fail') blame('FAIL', `${id} ${title}: ${failed} broken, first: ${failures[0]}`)
    else if (verdict === 'invalid' && drill.invariants.includes(id))
      blame('INVALID', `${id}: nothing was there to be checked`)
  }
  if (after !== null)
    blame('FAIL', `no rest within ${seconds(drill.recoverWithinMs)} after the heal: ${after}`)
  if (failure) blame(failure.verdict, failure.reason)
  for (const { name, need, got } of judgement.witnesses)
    if (got < need)
      blame('INVALID', `too little happened to prove anything: ${name} is ${got}, needed ${need}`)
  for (const entry of ledgers.nemesis)
    if (entry.activeAt === null)
      blame('INVALID', `${entry.fault} ${entry.action} on ${entry.target} was never seen to act`)
  for (const problem of mismatches(drill, judgement)) blame('INVALID', problem)
  const isVacuous = blames.some(({ verdict }) => verdict === 'INVALID')
  const criteria = criteriaOf(drill, judgement, isVacuous)
  for (const [id, { verdict, evidence }] of criteria)
    if (verdict === 'FAIL') blame('FAIL', `${id} ${drill.criteria[id]?.text}: ${evidence}`)
    else if (verdict !== 'PASS' && !failure && !isVacuous) blame(verdict, `${id}: ${evidence}`)
  return {
    verdict: gravest(blames.map(({ verdict }) => verdict)),
    reasons: reasonsOf(blames).slice(0, REASONS_SHOWN),
    criteria,
    invariants: [...invariants.values()],
    witnesses: judgement.witnesses,
    numbers: { ...judgement.numbers },
    ledgers,
  }
}

/** Where the text of a criterion and what judged it are not one; each makes the drill INVALID. */
export function mismatches(
  { criteria }: Pick<Drill, 'criteria'>,
  judgement: Pick<Judgement, 'criteria'>,
): readonly string[] {
  return Object.entries(criteria).flatMap(([id, claim]) => {
    const finding: Finding | undefined = judgement.criteria[id]
    const problem = finding ? mismatch(claim, finding) : null
    return problem === null ? [] : [`${id} "${claim.text}": ${problem}`]
  })
}

function criteriaOf(drill: Drill, judgement: Judgement, isVacuous: boolean) {
  return new Map(
    Object.keys(drill.criteria).map((id) => {
      const finding: Finding | undefined = judgement.criteria[id]
      const verdict: Verdict =
        finding === undefined ? 'INVALID' : !finding.ok ? 'FAIL' : isVacuous ? 'INVALID' : 'PASS'
      return [
        id,
        { verdict, evidence: finding ? toldOf(finding) : 'the method ended before this could be judged' },
      ] as const
    }),
  )
}

function frozen(ledgers: Ledgers, invariants: ReadonlyMap<InvariantId, CheckResult>): Frozen {
  return {
    ledgers,
    invariants,
    holds: (...ids) => {
      const results = ids.map((id) => {
        const found = invariants.get(id)
        if (!found) throw new Error(`the drill judges by ${id} and does not name it among its invariants`)
        return found
      })
      const told = results.map(({ id, verdict, checked, failures }) =>
        verdict === 'fail' ? `${id}: ${failures[0]}` : `${id} ${verdict} over ${checked}`,
      )
      return met(
        results.every(({ verdict }) => verdict === 'pass'),
        told.join(', '),
      )
    },
  }
}

function aborted(drill: Drill, verdict: Verdict, reasons: readonly string[]): Outcome {
  const evidence = reasons[0] ?? ''
  const criteria = new Map(Object.keys(drill.criteria).map((id) => [id, { verdict, evidence }] as const))
  return { verdict, reasons, criteria, invariants: [], witnesses: [], numbers: {}, ledgers: null }
}

/** A FAIL outweighs all: the system was seen to be wrong. */
const BY_GRAVITY = ['FAIL', 'ABORTED', 'INVALID'] as const

function gravest(verdicts: readonly Verdict[]): Verdict {
  return BY_GRAVITY.find((verdict) => verdicts.includes(verdict)) ?? 'PASS'
}

/** The gravest first, those of one kind in the order in which they were found. */
export function reasonsOf(
  blames: readonly { readonly verdict: Verdict; readonly reason: string }[],
): readonly string[] {
  return BY_GRAVITY.flatMap((gravity) =>
    blames.filter(({ verdict }) => verdict === gravity).map(({ reason }) => reason),
  )
}

/** What must be found nowhere. */
function secretsOf(system: System): ReadonlyMap<string, string> {
  const { secrets, postgres } = system.stack
  const found = new Map<string, string>([
    ['the API secret', secrets.jwtSecret],
    ['the client secret of Google', secrets.googleClientSecret],
    ['the client secret of Microsoft', secrets.microsoftClientSecret],
    ['the key of credentials', secrets.credentialsKeys.split(':')[1] ?? ''],
    ['the key of channel tokens', secrets.channelTokenKeys.split(':')[1] ?? ''],
    ['the superuser of Postgres', postgres.password],
  ])
  for (const [role, password] of Object.entries(secrets.rolePasswords))
    found.set(`the password of ${role}`, password)
  if (system.stack.cluster !== null) {
    for (const name of KAFKA_PRINCIPALS)
      found.set(`the password of ${name} at Kafka`, currentLogin(system.stack.place.folder, name).password)
    for (const role of DATABASE_ROLES)
      found.set(`the later password of ${role}`, currentRolePassword(system.stack.place.folder, role))
    found.set('the password of the registry', secrets.registryPassword)
  }
  for (const { accountId, refreshToken } of system.accounts)
    found.set(`the refresh token of ${accountId}`, refreshToken)
  return found
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
