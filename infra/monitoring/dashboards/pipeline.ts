// For those who run the parts: where does work wait, from the notification to the topic?
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard'
import { dashboard, figure, graph, quantile, rate } from './panels.ts'

export function pipeline(): Dashboard {
  return dashboard(
    {
      uid: 'calstream-pipeline',
      title: 'Calstream: pipeline',
      description: 'Where work waits, in seconds: ingress, Kafka, units, outbox, retries.',
    },
    [...figures(), ...graphs(), ...kafkaAndPostgres()],
  )
}

function figures(): readonly Builder<Panel>[] {
  return [
    figure(
      { title: 'Dependencies', description: '1: at least one process finds it well.', unit: 'none' },
      { expr: 'max by (dependency) (calendar_sync_dependency_ready)', legend: '{{dependency}}' },
    ),
    figure(
      {
        title: 'Oldest in the outbox',
        description: 'Above 30 s: add a relay, or look at Kafka.',
        unit: 's',
      },
      { expr: 'max(calendar_sync_outbox_oldest_seconds)', legend: 'oldest' },
    ),
    figure(
      { title: 'Rows in the outbox', description: 'Stored changes that are not published.', unit: 'short' },
      { expr: 'max(calendar_sync_outbox_backlog)', legend: 'rows' },
    ),
    figure(
      { title: 'Dead letters', description: 'Of the last day. 0 is right.', unit: 'none' },
      { expr: 'sum(increase(calendar_sync_dead_letters_total[1d])) or vector(0)', legend: 'records' },
    ),
  ]
}

function graphs(): readonly Builder<Panel>[] {
  return [
    graph(
      { title: 'Answer to a notification', description: '99 % are quicker. Kafka is in it.', unit: 's' },
      { expr: quantile(0.99, 'calendar_sync_webhook_seconds', 'vendor'), legend: '{{vendor}}' },
    ),
    graph(
      {
        title: 'Oldest sync request that is not done',
        description: 'From Kafka to the end of its unit. Its calendar is that late.',
        unit: 's',
      },
      { expr: 'max by (vendor) (calendar_sync_ring_oldest_seconds)', legend: '{{vendor}}' },
    ),
    graph(
      {
        title: 'Waiting for a slot',
        description: 'The sync request that waits longest. `live` grows: add a sync process.',
        unit: 's',
      },
      { expr: 'max by (slot) (calendar_sync_slot_wait_seconds)', legend: '{{slot}}' },
    ),
    graph(
      {
        title: 'Duration of a unit',
        description: '95 % are quicker. In milliseconds at the source.',
        unit: 's',
      },
      {
        expr: 'histogram_quantile(0.95, sum by (le, vendor) (rate(calendar_sync_latency_ms_bucket[$__rate_interval]))) / 1000',
        legend: '{{vendor}}',
      },
    ),
    graph(
      {
        title: 'From the row to the topic',
        description: '99 % are quicker. Promise: 99.9 % within 60 s.',
        unit: 's',
      },
      { expr: quantile(0.99, 'calendar_sync_outbox_delay_seconds'), legend: '99 %' },
    ),
    graph(
      { title: 'How late retries are rung', description: '99 % are less late.', unit: 's' },
      { expr: quantile(0.99, 'calendar_sync_retry_late_seconds'), legend: '99 %' },
    ),
  ]
}

function kafkaAndPostgres(): readonly Builder<Panel>[] {
  return [
    graph(
      {
        title: 'Records that a group has not committed',
        description: 'Never 0 on topics that a relay writes: markers of transactions count. Ages tell more.',
        unit: 'short',
      },
      { expr: 'max by (group, topic) (calendar_sync_lag)', legend: '{{group}} {{topic}}' },
    ),
    graph(
      { title: 'Statements that failed', description: 'By code; see docs/errors.md.', unit: 'ops' },
      { expr: rate('calendar_sync_postgres_failures_total', 'code'), legend: '{{code}}' },
    ),
    graph(
      { title: 'Jobs of the scheduler', description: 'Runs that failed.', unit: 'ops' },
      {
        expr: 'sum by (exported_job) (rate(calendar_sync_scheduler_runs_total{outcome="failed"}[$__rate_interval]))',
        legend: '{{exported_job}}',
      },
    ),
  ]
}
