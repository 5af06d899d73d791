// For those who talk to Google and Microsoft: what do they answer, and do they ring?
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard'
import { dashboard, figure, graph, quantile, rate } from './panels.ts'

export function vendors(): Dashboard {
  return dashboard(
    {
      uid: 'calstream-vendors',
      title: 'Calstream: vendors',
      description: 'What Google and Microsoft answer, whether they notify, and what is left of quotas.',
    },
    [...figures(), ...graphs()],
  )
}

function figures(): readonly Builder<Panel>[] {
  return [
    figure(
      { title: 'Breakers', description: '1 while a vendor is left alone.', unit: 'none' },
      { expr: 'max by (vendor, door) (calendar_sync_vendor_breaker)', legend: '{{vendor}} {{door}}' },
    ),
    figure(
      {
        title: 'Channels',
        description: '`ending`: no renewal worked. `unwatched`: polled every two minutes.',
        unit: 'none',
      },
      {
        expr: 'max by (vendor, state) (calendar_sync_channels{state=~"open|ending|unwatched"})',
        legend: '{{vendor}} {{state}}',
      },
    ),
    figure(
      {
        title: 'Grants that end within a week',
        description: 'Of a Google app in testing. 0 is right.',
        unit: 'none',
      },
      { expr: 'max by (vendor) (calendar_sync_grants_ending)', legend: '{{vendor}}' },
    ),
  ]
}

function graphs(): readonly Builder<Panel>[] {
  return [
    graph(
      { title: 'Calls', description: 'By what the vendor answered.', unit: 'ops' },
      {
        expr: rate('calendar_sync_vendor_calls_total', 'vendor, outcome'),
        legend: '{{vendor}} {{outcome}}',
      },
    ),
    graph(
      { title: 'Duration of calls', description: '95 % are quicker.', unit: 's' },
      { expr: quantile(0.95, 'calendar_sync_vendor_call_seconds', 'vendor'), legend: '{{vendor}}' },
    ),
    graph(
      {
        title: 'Calls that were not made',
        description:
          'A budget was spent, or the vendor wants silence. A quota is too small, or set too low here.',
        unit: 'ops',
      },
      {
        expr: `${rate('calendar_sync_vendor_refusals_total', 'vendor, code')} > 0`,
        legend: '{{vendor}} {{code}}',
      },
    ),
    graph(
      {
        title: 'Notifications',
        description:
          'By our answer. 2xx: taken. 4xx: refused for its token or a gate. 5xx: the vendor repeats it.',
        unit: 'ops',
      },
      { expr: rate('calendar_sync_webhooks_total', 'vendor, outcome'), legend: '{{vendor}} {{outcome}}' },
    ),
    graph(
      {
        title: 'What finds changes',
        description: 'When a vendor tells nothing, all come by `reconcile`.',
        unit: 'ops',
      },
      { expr: rate('calendar_sync_found_by_total', 'vendor, by'), legend: '{{vendor}} {{by}}' },
    ),
    graph(
      {
        title: 'Units',
        description: 'Reads of one account, by how they ended.',
        unit: 'ops',
      },
      { expr: rate('calendar_sync_runs_total', 'vendor, outcome'), legend: '{{vendor}} {{outcome}}' },
    ),
    graph(
      {
        title: 'Calendars that cannot be read',
        description: 'While others of the same account can.',
        unit: 'none',
      },
      { expr: 'max by (vendor, code) (calendar_sync_ill_calendars) > 0', legend: '{{vendor}} {{code}}' },
    ),
  ]
}
