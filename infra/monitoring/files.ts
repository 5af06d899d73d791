// The files of monitoring that are made from code and committed, by their path from the top.
import { fleet } from './dashboards/fleet.ts'
import { flags } from './dashboards/flags.ts'
import { pipeline } from './dashboards/pipeline.ts'
import { vendors } from './dashboards/vendors.ts'
import { TRUE_PACE } from './pace.ts'
import { ruleFile, ruleManifest } from './rule-file.ts'
import { budgetGroups, symptomGroups } from './rules.ts'

/** One for each audience, by the name of its file. */
export const DASHBOARDS = { fleet, vendors, pipeline, flags } as const

export const MONITORING_FILES: Readonly<Record<string, () => string>> = {
  'infra/monitoring/symptoms.rules.yml': () => ruleFile(symptomGroups(TRUE_PACE)),
  'infra/monitoring/slo.rules.yml': () => ruleFile(budgetGroups(TRUE_PACE)),
  'infra/kubernetes/base/alerts.yaml': () =>
    ruleManifest([...symptomGroups(TRUE_PACE), ...budgetGroups(TRUE_PACE)]),
  ...Object.fromEntries(
    Object.entries(DASHBOARDS).map(([name, make]) => [
      `infra/monitoring/grafana/dashboards/${name}.json`,
      () => `${JSON.stringify(make(), null, 2)}\n`,
    ]),
  ),
}
