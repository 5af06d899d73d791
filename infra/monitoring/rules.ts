// Every rule that is shipped, from one source: alerts about symptoms (alerts.ts) and budgets of the
// promises (slo.yml).
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'
import { SYMPTOMS } from './alerts.ts'
import { illnessRules } from './illness.ts'
import type { Pace } from './pace.ts'
import type { RuleGroup } from './rule-file.ts'
import { sloFile, sloGroups } from './slo-rules.ts'

/** Where people read the runbooks: put your own fork here and in slo.yml, then `npm run gen`. */
export const RUNBOOKS = 'https://github.com/your/fork/blob/main/docs/runbooks'

/** Alerts about symptoms, after the recording rules that they use. */
export function symptomGroups(pace: Pace): readonly RuleGroup[] {
  const alerts = SYMPTOMS.map(({ name, severity, holdsS, expr, summary, description }) => ({
    alert: name,
    expr: `${expr(pace)}\n`,
    ...(holdsS > 0 ? { for: pace.duration(holdsS) } : {}),
    labels: { severity },
    annotations: { summary, description, runbook_url: `${RUNBOOKS}/${name}.md` },
  }))
  return [{ name: 'calstream', rules: [...illnessRules(pace), ...alerts] }]
}

/** Throws ZodError when slo.yml has something that is not known here. */
export function budgetGroups(pace: Pace): readonly RuleGroup[] {
  const file = sloFile.parse(parse(readFileSync(path.join(import.meta.dirname, 'slo.yml'), 'utf8')))
  return sloGroups(file, (seconds) => pace.duration(seconds))
}
