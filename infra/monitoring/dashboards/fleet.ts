// For those who answer for the whole: is it well, for how many, and how late are people?
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard'
import { SERVICES } from '../expressions.ts'
import { dashboard, figure, graph, quantile, rate } from './panels.ts'

export function fleet(): Dashboard {
  return dashboard(
    {
      uid: 'calstream-fleet',
      title: 'Calstream: fleet',
      description: 'Is it well, for how many accounts, and how late are changes?',
    },
    [...figures(), ...graphs()],
  )
}

function figures(): readonly Builder<Panel>[] {
  return [
    figure(
      {
        title: 'Alerts that fire',
        description: 'Each has a runbook in docs/runbooks.',
        unit: 'none',
      },
      { expr: 'sum by (severity) (ALERTS{alertstate="firing"}) or vector(0)', legend: '{{severity}}' },
    ),
    figure(
      {
        title: 'Processes',
        description: `Processes that can be scraped: at least one of each of ${SERVICES.join(', ')}.`,
        unit: 'none',
      },
      { expr: 'sum by (service) (up{job="calstream"})', legend: '{{service}}' },
    ),
    figure(
      { title: 'Connections', description: 'Accounts that are synced.', unit: 'none' },
      { expr: 'max by (vendor) (calendar_sync_connections{state="active"})', legend: '{{vendor}}' },
    ),
    figure(
      {
        title: 'Budget left',
        description: 'Of the month, for each promise of infra/monitoring/slo.yml. At 0 it is spent.',
        unit: 'percentunit',
      },
      { expr: 'slo:period_error_budget_remaining:ratio', legend: '{{sloth_slo}}' },
    ),
  ]
}

function graphs(): readonly Builder<Panel>[] {
  return [
    graph(
      {
        title: 'Freshness',
        description: 'From a change at the vendor until it was published. Promise: 99 % within 30 s.',
        unit: 's',
      },
      { expr: quantile(0.5, 'calendar_sync_freshness_seconds'), legend: 'half' },
      { expr: quantile(0.99, 'calendar_sync_freshness_seconds'), legend: '99 %' },
    ),
    graph(
      {
        title: 'How fast budgets burn',
        description: 'At 1 the budget lasts exactly for the month. 14.4 wakes a person.',
        unit: 'none',
      },
      { expr: 'slo:current_burn_rate:ratio', legend: '{{sloth_slo}}' },
    ),
    graph(
      {
        title: 'Connections that are not well',
        description: 'Backing off: tried again automatically. needs_reauth: waits for the owner.',
        unit: 'none',
      },
      {
        expr: 'max by (vendor, state) (calendar_sync_connections{state=~"backing_off|needs_reauth|disabled"})',
        legend: '{{vendor}} {{state}}',
      },
    ),
    graph(
      {
        title: 'Why accounts are not up to date',
        description: 'The causes of docs/why.md. calstream why names one account and what to do.',
        unit: 'none',
      },
      { expr: 'max by (vendor, cause) (calendar_sync_causes) > 0', legend: '{{vendor}} {{cause}}' },
    ),
    graph(
      {
        title: 'Account that is behind most',
        description: 'Since it was in sync. In a quiet fleet up to 12 min: the beat of the reconcile.',
        unit: 's',
      },
      { expr: 'max by (vendor) (calendar_sync_oldest_synced_seconds)', legend: '{{vendor}}' },
    ),
    graph(
      { title: 'Changes that were published', description: 'A second, over all.', unit: 'ops' },
      { expr: 'sum(rate(calendar_sync_outbox_published_total[$__rate_interval]))', legend: 'published' },
    ),
    graph(
      { title: 'Failures by code', description: 'docs/errors.md says what each code means.', unit: 'ops' },
      {
        expr: `${rate('calendar_sync_failures_total', 'vendor, code')} > 0`,
        legend: '{{vendor}} {{code}}',
      },
    ),
  ]
}
