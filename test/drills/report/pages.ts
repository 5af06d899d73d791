// docs/drills: one page per group with the seeds' own headings, filled from evidence, and an index
// with the age of each verdict. Pure: evidence in, Markdown out.
import type { Drill } from '../drill.ts'
import { type Evidence, TIMELINE_MAX } from './evidence.ts'

export const REPORTS: Readonly<
  Record<string, { readonly title: string; readonly objective: string; readonly seed: string | null }>
> = {
  'graceful-degradation': {
    title: 'Calendar Sync Failure Drill - Graceful Degradation',
    objective:
      'Verify that calendar sync features degrade gracefully when disabled, allowlists removed, or system components fail, ensuring no data corruption or user-facing errors.',
    seed: 'graceful-degradation-drill.md',
  },
  outages: {
    title: 'Calendar Sync Failure Drill - Outages',
    objective:
      'Simulate various outage scenarios and verify graceful degradation, error handling, and recovery procedures.',
    seed: 'outages-drill.md',
  },
  ingress: {
    title: 'Drills of the ingress',
    objective: 'Malformed, forged, replayed and stormed webhooks; alerts.',
    seed: null,
  },
  processes: {
    title: 'Drills of processes',
    objective: 'Killed, frozen, blocked and restarted at the worst moments.',
    seed: null,
  },
  infrastructure: {
    title: 'Drills of the infrastructure',
    objective: 'Broker, database, network, flag server and clock.',
    seed: null,
  },
  vendors: {
    title: 'Drills of the vendors',
    objective: 'Throttling, lost cursors, revoked grants, hostile answers.',
    seed: null,
  },
  chaos: {
    title: 'Chaos',
    objective: 'Several faults at once under load for a long time, the invariants as judge.',
    seed: null,
  },
}

const STALE_AFTER_DAYS = 30
const DAY_MS = 86_400_000
const MARK: Readonly<Record<string, string>> = { PASS: '✅', FAIL: '❌', INVALID: '⚠️', ABORTED: '⛔' }

/** One page. `mutants`: id → caught by this group's drills. */
export function reportPage(
  report: string,
  evidence: readonly Evidence[],
  mutants: readonly MutantLine[],
): string {
  const about = REPORTS[report]
  const [first] = evidence
  if (!about || !first) throw new RangeError(`there is no report ${report} without evidence`)
  const status = evidence.every(({ verdict }) => verdict === 'PASS') ? 'PASS' : worst(evidence)
  return [
    `# ${about.title}`,
    '',
    `Date: ${lastDay(evidence)}  `,
    `Operator: \`npm run drill\` (executed; nothing here is code inspection)  `,
    `Host: Node ${first.build.node}, ${first.host.cores} cores`,
    '',
    '## Objective',
    '',
    about.objective,
    '',
    '## Test Scenarios',
    '',
    ...evidence.flatMap(scenario),
    '## Success Criteria',
    '',
    ...evidence.flatMap(({ criteria }) =>
      criteria.map(({ id, text, verdict }) => `- [${verdict === 'PASS' ? 'x' : ' '}] ${id} ${text}`),
    ),
    '',
    '## Failure Scenarios',
    '',
    ...failureScenarios(mutants),
    '## Drill Results',
    '',
    `**Date:** ${lastDay(evidence)}  `,
    `**Execution Type:** executed on the running system, judged from ledgers outside of it  `,
    ...evidence.map(
      ({ drill, title, profile, verdict }) =>
        `**${drill} ${title} (${profile}):** ${MARK[verdict] ?? ''} ${verdict}  `,
    ),
    `**Recovery Tests:** ${evidence.every(({ invariants }) => invariants.every(({ id, verdict }) => id !== 'I21' || verdict === 'pass')) ? 'PASS' : 'FAIL'}  `,
    `**Status:** ${MARK[status] ?? ''} **${status}**  `,
    `**Notes:** ${notes(evidence)}`,
    '',
    '## Sign-off',
    '',
    `- Operator: \`npm run drill\``,
    `- Date: ${lastDay(evidence)}`,
    `- Evidence: ${evidence.map((one) => `[${one.drill} (${one.profile})](${fileOf(one)}.json)`).join(', ')}`,
    '',
  ].join('\n')
}

function scenario(one: Evidence, index: number): readonly string[] {
  return [
    `### ${index + 1}. ${one.drill}: ${one.title} (profile ${one.profile})`,
    '',
    `**Simulation:** ${simulation(one)}`,
    '',
    `**Build:** \`${one.build.git}\`${one.build.dirty ? ' with uncommitted changes' : ''}, ${one.start.slice(0, 10)}`,
    '',
    `![Timeline](${fileOf(one)}.svg)`,
    '',
    '| criterion | verdict | evidence |',
    '|---|---|---|',
    ...one.criteria.map(
      ({ id, text, verdict, evidence }) =>
        `| ${id} ${cell(text)} | ${MARK[verdict] ?? ''} ${verdict} | ${cell(evidence)} |`,
    ),
    '',
    `**Invariants:** ${one.invariants.map(({ id, verdict, checked }) => `${id} ${verdict} (${checked})`).join(', ') || 'none could be judged'}`,
    '',
    `**Not vacuous:** ${one.witnesses.map(({ name, got, need }) => `${name}: ${got} (at least ${need})`).join('; ') || 'nothing was witnessed'}`,
    '',
    `**Numbers:** ${Object.entries(one.numbers)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
    '',
    ...(one.reasons.length > 0
      ? [`**Why it is ${one.verdict}:** ${one.reasons.map(cell).join('; ')}`, '']
      : []),
    ...(one.limits === null ? [] : [`**What this run does not show:** ${one.limits}`, '']),
    `**How to reproduce:** \`${one.repro}\``,
    '',
  ]
}

function simulation({ timeline, seed, start, end }: Evidence): string {
  const kinds = Map.groupBy(timeline, ({ fault, action }) => `${fault} ${action}`)
  const told = [...kinds]
    .slice(0, 12)
    .map(
      ([what, all]) =>
        `${what}${all.length > 1 ? ` × ${all.length}` : ''} (first at ${all[0]?.t.toFixed(1)} s)`,
    )
  const part = timeline.length < TIMELINE_MAX ? '' : `Of the first ${TIMELINE_MAX} faults: `
  const length = ((Date.parse(end) - Date.parse(start)) / 1_000).toFixed(0)
  return `${part}${told.join('; ')}${kinds.size > 12 ? ' …' : ''}. Seed ${seed}, ${length} s in all.`
}

export interface MutantLine {
  readonly id: string
  readonly what: string
  readonly drill: string
  readonly caught: boolean
  readonly by: string
}

function failureScenarios(mutants: readonly MutantLine[]): readonly string[] {
  if (mutants.length === 0)
    return ['Each is a seeded bug that a drill has to turn red: `npm run drill -- --mutants`.', '']
  return [
    'Each is a bug that was put into a copy of the code; the drill named has to turn red.',
    '',
    '| seeded bug | drill | caught | by |',
    '|---|---|---|---|',
    ...mutants.map(
      ({ what, drill, caught, by }) =>
        `| ${cell(what)} | ${drill} | ${caught ? 'yes' : '**no**'} | ${cell(by)} |`,
    ),
    '',
  ]
}

export interface Index {
  readonly evidence: readonly Evidence[]
  /** All that there are, run or not. */
  readonly drills: readonly Pick<Drill, 'id' | 'title' | 'report' | 'profiles' | 'faults'>[]
  readonly catalogue: readonly CatalogueLine[]
  /** ms since 1970. */
  readonly now: number
}

/** The index: every drill with its last verdict in each profile, and how old that is. */
export function indexPage({ evidence, drills, catalogue, now }: Index): string {
  const executed = catalogue.filter((line) => line.drills.length > 0).length
  const ran = new Set(evidence.map(({ drill }) => drill))
  const never = drills.filter(({ id }) => !ran.has(id))
  return [
    '# Drills',
    '',
    'Every line was executed on the running system and judged from ledgers outside of it. A verdict older than 30 days, or a drill that was never run, proves nothing. Profile `ci` is the short form of each, `full` takes the time that the claims need, and `secure` is of the size `ci` on the secured stack.',
    '',
    '| drill | report | profile | verdict | age | build | faults |',
    '|---|---|---|---|---|---|---|',
    ...evidence
      .toSorted((a, b) => a.report.localeCompare(b.report) || a.drill.localeCompare(b.drill))
      .map((one) => {
        const days = Math.floor((now - Date.parse(one.end)) / DAY_MS)
        const verdict =
          days > STALE_AFTER_DAYS ? `STALE (${one.verdict})` : `${MARK[one.verdict] ?? ''} ${one.verdict}`
        return `| ${one.drill} ${cell(one.title)} | [${one.report}](${one.report}.md) | ${one.profile} | ${verdict} | ${one.end.slice(0, 10)}, ${days} days | \`${one.build.git}\`${one.build.dirty ? '+' : ''} | ${one.faults.join(', ')} |`
      }),
    ...never.map(
      ({ id, title, report, profiles, faults }) =>
        `| ${id} ${cell(title)} | ${report} | ${profiles.join(', ')} | never run | | | ${faults.join(', ')} |`,
    ),
    '',
    '## The fault catalogue',
    '',
    `${executed} of ${catalogue.length} entries are executed by a drill; the others say why not, or where they are tested.`,
    '',
    '| fault | what | drills | if not: why |',
    '|---|---|---|---|',
    ...catalogue.map(
      ({ id, what, drills: own, reason }) =>
        `| ${id} | ${cell(what)} | ${own.join(', ') || '–'} | ${cell(reason)} |`,
    ),
    '',
    '## What no drill here shows',
    '',
    'One machine, the loopback network, played vendors, one broker (three in the profile `secure`); no power loss (kill -9 keeps the page cache), no second availability zone, no oddity of the real Google or Microsoft beyond what the simulator plays.',
    '',
  ].join('\n')
}

export interface CatalogueLine {
  readonly id: string
  readonly what: string
  readonly drills: readonly string[]
  readonly reason: string
}

function notes(evidence: readonly Evidence[]): string {
  const changes = evidence.reduce((sum, { numbers }) => sum + (numbers['changes'] ?? 0), 0)
  const kills = evidence.reduce((sum, { numbers }) => sum + (numbers['kills'] ?? 0), 0)
  return `${changes} changes pushed through the faults, ${kills} processes killed; see the limits of each scenario.`
}

/** Its place below docs/drills, without an ending. */
function fileOf({ drill, profile }: Evidence): string {
  return `evidence/${profile}/${drill}`
}

function lastDay(evidence: readonly Evidence[]): string {
  return (
    evidence
      .map(({ end }) => end.slice(0, 10))
      .toSorted()
      .at(-1) ?? ''
  )
}

function worst(evidence: readonly Evidence[]): string {
  for (const verdict of ['FAIL', 'ABORTED', 'INVALID'])
    if (evidence.some((one) => one.verdict === verdict)) return verdict
  return 'PASS'
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ')
}
