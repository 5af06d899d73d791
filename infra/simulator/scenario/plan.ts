// A scenario: what happens in the simulated world and when, in the admin API's own words.
// This reads one, names everything in it that cannot work, and unrolls it into steps in
// the order of their time.
import { z } from 'zod'

/** Steps after repetition: about one a minute for half a year of simulated time. */
const STEPS_MAX = 250_000
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const METHODS = ['GET', 'POST', 'PATCH', 'DELETE']
/** What would change the scenario itself or the time that it runs in. */
const FORBIDDEN = /^\/admin\/(?:clock|reset|scenario)\b/
const REFERENCE = /\$\{([^}]*)\}/g

export interface Step {
  /** Simulated milliseconds after the scenario's begin. */
  readonly at: number
  /** Where it stands in the file: `steps[3]`, with the turn of a repeated one. */
  readonly place: string
  readonly method: string
  readonly path: string
  readonly body: unknown
  /** Keeps the answer under this name, for `${name.field}` in later steps. */
  readonly as: string | null
}

export interface Plan {
  readonly name: string
  readonly seed: string
  readonly steps: readonly Step[]
}

/**
 * What the admin API knows of a call: null when there is none of this method and path, else the
 * schema of its body, if it has one.
 */
export type Lookup = (method: string, path: string) => { readonly body?: z.ZodType } | null

const time = z.union([z.number().min(0), z.string()]).transform((value, context) => {
  const ms = typeof value === 'number' ? value : durationOf(value)
  if (ms !== null) return ms
  context.addIssue(
    `is no duration: "${String(value)}" (a number of milliseconds, or text like "90s", "2h 30m", "1d")`,
  )
  return z.NEVER
})

const scenarioShape = z.strictObject({
  name: z.string().min(1),
  /** Of what the admin API makes up; the accounts' own contents follow the simulator's seed. */
  seed: z.union([z.string(), z.number()]).transform(String).default('scenario'),
  steps: z
    .array(
      z.strictObject({
        at: time.default(0),
        do: z.string(),
        with: z.unknown().optional(),
        as: z
          .string()
          .regex(/^[a-z][a-zA-Z0-9]*$/, 'is no name (a lower-case letter first, then letters and digits)')
          .optional(),
        every: time.optional(),
        times: z.int().min(1).optional(),
      }),
    )
    .min(1),
})

/**
 * Reads a scenario. Throws RangeError (SyntaxError for text that is no JSON) naming every
 * problem and where it is.
 */
export function readPlan(text: string, lookup: Lookup): Plan {
  const parsed = scenarioShape.safeParse(JSON.parse(text))
  if (!parsed.success) throw new RangeError(`The scenario cannot be run:\n${z.prettifyError(parsed.error)}`)
  const { name, seed, steps } = parsed.data
  const problems: string[] = []
  const unrolled: Step[] = []
  const known = new Map<string, number>()
  for (const [index, step] of steps.entries()) {
    const place = `steps[${index}]`
    const problem = (text: string) => void problems.push(`${place}: ${text}`)
    const [method = '', path = '', ...rest] = step.do.split(' ')
    if (!METHODS.includes(method) || !path.startsWith('/admin/') || rest.length > 0)
      problem(`do: "${step.do}" is no call; it is written as "POST /admin/…".`)
    else checkCall({ method, path, body: step.with }, lookup, problem)
    for (const reference of referencesOf([step.do, step.with])) {
      const since = known.get(reference)
      if (since === undefined) problem(`\${${reference}…} is named by no step before it.`)
      else if (since > step.at) problem(`\${${reference}…} is named by a step that happens later.`)
    }
    if (step.times !== undefined && step.every === undefined) problem('times needs every.')
    if (step.every !== undefined && step.times === undefined) problem('every needs times.')
    if (step.every === 0) problem('every is 0.')
    if (step.as !== undefined) {
      if (known.has(step.as)) problem(`the name ${step.as} is taken.`)
      if (step.every !== undefined) problem('a repeated step has no one answer to name.')
      known.set(step.as, step.at)
    }
    const turns = Math.min(step.times ?? 1, STEPS_MAX)
    for (let turn = 0; turn < turns && unrolled.length <= STEPS_MAX; turn += 1) {
      unrolled.push({
        at: step.at + turn * (step.every ?? 0),
        place: step.every === undefined ? place : `${place} turn ${turn + 1}`,
        method,
        path,
        body: step.with,
        as: step.as ?? null,
      })
    }
  }
  if (unrolled.length > STEPS_MAX) problems.push(`More than ${STEPS_MAX} steps after repetition.`)
  if (problems.length > 0) throw new RangeError(`The scenario cannot be run:\n${problems.join('\n')}`)
  // A stable sort: steps of one instant happen in the order of the file.
  return { name, seed, steps: unrolled.toSorted((a, b) => a.at - b.at) }
}

/**
 * Puts named answers in place of `${name.field}`: text that is nothing but one reference
 * takes the value as it is.
 */
export function resolve(value: unknown, names: ReadonlyMap<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((item) => resolve(item, names))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner, names)]))
  if (typeof value !== 'string') return value
  const whole = /^\$\{([^}]*)\}$/.exec(value)
  if (whole) return lookUp(whole[1] ?? '', names)
  return value.replaceAll(REFERENCE, (_all, path: string) => String(lookUp(path, names)))
}

/** The same for a path, whose parts are percent-encoded. */
export function resolvePath(path: string, names: ReadonlyMap<string, unknown>): string {
  return path.replaceAll(REFERENCE, (_all, reference: string) =>
    encodeURIComponent(String(lookUp(reference, names))),
  )
}

function lookUp(path: string, names: ReadonlyMap<string, unknown>): unknown {
  const [name = '', ...fields] = path.split('.')
  let value = names.get(name)
  for (const field of fields) value = (value as Record<string, unknown> | null | undefined)?.[field]
  if (value === undefined) throw new RangeError(`\${${path}}: the answer kept as ${name} has no such field.`)
  return value
}

function checkCall(
  call: { readonly method: string; readonly path: string; readonly body: unknown },
  lookup: Lookup,
  problem: (text: string) => void,
): void {
  const { method, body } = call
  const path = call.path.replaceAll(REFERENCE, 'x').replace(/\?.*$/, '')
  if (FORBIDDEN.test(path)) return problem(`do: ${path} is not for scenarios.`)
  const route = lookup(method, path)
  if (!route) return problem(`do: there is no ${method} ${path}.`)
  const checked = route.body?.safeParse(body ?? {})
  if (checked && !checked.success) problem(`with: ${z.prettifyError(checked.error)}`)
}

function referencesOf(value: unknown): readonly string[] {
  const text = JSON.stringify(value) ?? ''
  return [...text.matchAll(REFERENCE)].map(([, path]) => (path ?? '').split('.')[0] ?? '')
}

function durationOf(text: string): number | null {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  const rest = text.replaceAll(/\d+(?:\.\d+)?(?:ms|s|m|h|d)/g, '').trim()
  if (parts.length === 0 || rest !== '') return null
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ''] ?? 0), 0)
}
