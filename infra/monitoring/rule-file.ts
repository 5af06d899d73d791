// A file of rules as Prometheus reads it, and the same as the Prometheus operator wants it.
// https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
import { stringify } from 'yaml'

export interface RecordingRule {
  readonly record: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
}

export interface AlertingRule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export type Rule = RecordingRule | AlertingRule

export interface RuleGroup {
  readonly name: string
  readonly rules: readonly Rule[]
}

const MADE = '# Made by `npm run gen` from infra/monitoring. Do not edit.\n'

/** What `rule_files` of Prometheus names. */
export function ruleFile(groups: readonly RuleGroup[]): string {
  return MADE + yamlOf({ groups })
}

/** What the Prometheus operator takes. */
export function ruleManifest(groups: readonly RuleGroup[]): string {
  const metadata = { name: 'calstream', labels: { 'app.kubernetes.io/name': 'calstream' } }
  return (
    MADE +
    yamlOf({ apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata, spec: { groups } })
  )
}

function yamlOf(value: object): string {
  // Without wrapping: an expression in two lines for width alone is hard to search for.
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })
}
