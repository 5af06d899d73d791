// For those who switch: what is open, and what do gates keep back?
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard'
import { dashboard, figure, graph, rate } from './panels.ts'

export function flags(): Dashboard {
  return dashboard(
    {
      uid: 'calstream-flags',
      title: 'Calstream: flags',
      description: 'What is open, whether the flag server answers, and what gates keep back.',
    },
    [
      figure(
        {
          title: 'Gates',
          description: '1 open, 0 closed, -1 unknown. An allowlist is open when it lets anyone in.',
          unit: 'none',
        },
        { expr: 'min by (gate) (calendar_sync_gate_state)', legend: '{{gate}}' },
      ),
      figure(
        {
          title: 'Processes that differ',
          description:
            'Between the highest and the lowest answer of processes. It is 0 but for 2 s after a flip.',
          unit: 'none',
        },
        {
          expr: 'max by (gate) (calendar_sync_gate_state) - min by (gate) (calendar_sync_gate_state)',
          legend: '{{gate}}',
        },
      ),
      graph(
        {
          title: 'Polls of the flag server that failed',
          description: 'For 30 s nothing changes.',
          unit: 'ops',
        },
        { expr: rate('calendar_sync_gate_poll_failures_total', 'service'), legend: '{{service}}' },
      ),
      graph(
        { title: 'Answers of gates', description: 'What was let through and what was not.', unit: 'ops' },
        { expr: rate('calendar_sync_gate_decisions_total', 'gate, state'), legend: '{{gate}} {{state}}' },
      ),
      graph(
        {
          title: 'Refusals that were stored',
          description: 'Each is rung when the gate opens.',
          unit: 'ops',
        },
        { expr: rate('calendar_sync_held_total', 'gate'), legend: '{{gate}}' },
      ),
      graph(
        { title: 'Gates over time', description: 'Each step is a flip of an operator.', unit: 'none' },
        { expr: 'min by (gate) (calendar_sync_gate_state)', legend: '{{gate}}' },
      ),
    ],
  )
}
