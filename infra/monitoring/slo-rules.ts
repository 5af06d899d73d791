// What sloth makes of a file in its format prometheus/v1: recording rules of the error ratio over
// eight windows, facts about each objective, and two alerts of several windows and burn rates. It
// is written here because sloth is a program of Go, which a clone does not have. A test holds it
// equal to what sloth itself made of slo.yml.
// The windows and factors are those of https://sre.google/workbook/alerting-on-slos/ (table 5-8).
import { z } from 'zod'
import { durationText } from './pace.ts'
import type { Rule, RuleGroup } from './rule-file.ts'

const texts = z.record(z.string(), z.string())
const severity = z.strictObject({ labels: texts })

/** The part of the format that is used here; anything else is refused. */
export const sloFile = z.strictObject({
  version: z.literal('prometheus/v1'),
  service: z.string(),
  slos: z.array(
    z.strictObject({
      name: z.string(),
      objective: z.number().gt(0).lt(100),
      description: z.string(),
      sli: z.strictObject({ events: z.strictObject({ error_query: z.string(), total_query: z.string() }) }),
      alerting: z.strictObject({
        name: z.string(),
        annotations: texts,
        page_alert: severity,
        ticket_alert: severity,
      }),
    }),
  ),
})
export type SloFile = z.output<typeof sloFile>
type Slo = SloFile['slos'][number]

const [MINUTE, HOUR, DAY] = [60, 3_600, 86_400]
const PERIOD_DAYS = 30
const WINDOWS = [5 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, DAY, 3 * DAY]

interface Burn {
  readonly factor: number
  readonly shortS: number
  readonly longS: number
}

const PAGE: readonly [Burn, Burn] = [
  { factor: 14.4, shortS: 5 * MINUTE, longS: HOUR },
  { factor: 6, shortS: 30 * MINUTE, longS: 6 * HOUR },
]
const TICKET: readonly [Burn, Burn] = [
  { factor: 3, shortS: 2 * HOUR, longS: DAY },
  { factor: 1, shortS: 6 * HOUR, longS: 3 * DAY },
]

/**
 * The rules of a file.
 * @param window writes a window, given in seconds; a drill makes windows shorter.
 */
export function sloGroups(file: SloFile, window: (seconds: number) => string): readonly RuleGroup[] {
  return file.slos.flatMap((slo) => groupsOf({ service: file.service, slo, window }))
}

interface About {
  readonly service: string
  readonly slo: Slo
  readonly window: (seconds: number) => string
}

function groupsOf(about: About): readonly RuleGroup[] {
  const id = idOf(about)
  return [
    { name: `sloth-slo-sli-recordings-${id}`, rules: ratioRules(about) },
    { name: `sloth-slo-meta-recordings-${id}`, rules: factRules(about) },
    { name: `sloth-slo-alerts-${id}`, rules: alertRules(about) },
  ]
}

function idOf({ service, slo }: About): string {
  return `${service}-${slo.name}`
}

function labelsOf(about: About): Readonly<Record<string, string>> {
  return { sloth_id: idOf(about), sloth_service: about.service, sloth_slo: about.slo.name }
}

function selectorOf(about: About): string {
  const pairs = Object.entries(labelsOf(about)).map(([name, value]) => `${name}="${value}"`)
  return `{${pairs.join(', ')}}`
}

/** A rule is named by the window as it is shipped, so that names are the same at every pace. */
const ratioName = (seconds: number): string => `slo:sli_error:ratio_rate${durationText(seconds)}`

function ratioRules(about: About): readonly Rule[] {
  const { slo, window } = about
  const { error_query: errors, total_query: total } = slo.sli.events
  const at = (query: string, seconds: number) => query.replaceAll('{{.window}}', window(seconds))
  const [shortest = 0] = WINDOWS
  const all = `${ratioName(shortest)}${selectorOf(about)}[${PERIOD_DAYS}d]`
  return [
    ...WINDOWS.map((seconds) => ({
      record: ratioName(seconds),
      expr: `(${at(errors, seconds)})\n/\n(${at(total, seconds)})\n`,
      labels: { ...labelsOf(about), sloth_window: durationText(seconds) },
    })),
    {
      record: `slo:sli_error:ratio_rate${PERIOD_DAYS}d`,
      expr: `sum_over_time(${all})\n/ ignoring (sloth_window)\ncount_over_time(${all})\n`,
      labels: { ...labelsOf(about), sloth_window: `${PERIOD_DAYS}d` },
    },
  ]
}

function factRules(about: About): readonly Rule[] {
  const [labels, selector] = [labelsOf(about), selectorOf(about)]
  const objective = about.slo.objective / 100
  const [shortest = 0] = WINDOWS
  const rate = (ratio: string) =>
    `${ratio}${selector}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio${selector}\n`
  const told: readonly [string, string][] = [
    ['slo:objective:ratio', `vector(${objective})`],
    ['slo:error_budget:ratio', `vector(1-${objective})`],
    ['slo:time_period:days', `vector(${PERIOD_DAYS})`],
    ['slo:current_burn_rate:ratio', rate(ratioName(shortest))],
    ['slo:period_burn_rate:ratio', rate(`slo:sli_error:ratio_rate${PERIOD_DAYS}d`)],
    ['slo:period_error_budget_remaining:ratio', `1 - slo:period_burn_rate:ratio${selector}`],
  ]
  return told.map(([record, expr]) => ({ record, expr, labels }))
}

function alertRules(about: About): readonly Rule[] {
  const { name, annotations, page_alert: page, ticket_alert: ticket } = about.slo.alerting
  const [service, slo] = ['{{$labels.sloth_service}}', '{{$labels.sloth_slo}}']
  return [
    { severity: 'page', burns: PAGE, labels: page.labels },
    { severity: 'ticket', burns: TICKET, labels: ticket.labels },
  ].map(({ severity: word, burns, labels }) => ({
    alert: name,
    expr: burns.map((burn) => burnText(about, burn)).join('or\n'),
    labels: { ...labels, sloth_severity: word },
    annotations: {
      ...annotations,
      title: `(${word}) ${service} ${slo} SLO error budget burn rate is too fast.`,
    },
  }))
}

function burnText(about: About, { factor, shortS, longS }: Burn): string {
  const selector = selectorOf(about)
  const limit = `(${factor} * ${(100 - about.slo.objective) / 100})`
  const over = (seconds: number) =>
    `    max(${ratioName(seconds)}${selector} > ${limit}) without (sloth_window)\n`
  return `(\n${over(shortS)}    and\n${over(longS)})\n`
}
