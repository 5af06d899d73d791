// The queries of the dashboards as Prometheus gets them.
import { z } from 'zod'
import { DASHBOARDS } from '../../infra/monitoring/files.ts'

const dashboard = z.object({
  uid: z.string(),
  title: z.string(),
  templating: z.object({ list: z.array(z.object({ name: z.string(), type: z.string() })) }),
  panels: z.array(
    z.object({
      title: z.string(),
      description: z.string(),
      datasource: z.object({ uid: z.string() }),
      targets: z.array(z.object({ expr: z.string(), datasource: z.object({ uid: z.string() }) })).min(1),
    }),
  ),
})

/** Every dashboard, as Grafana reads its file. */
export const dashboards = Object.entries(DASHBOARDS).map(([name, make]) => ({
  name,
  ...dashboard.parse(JSON.parse(JSON.stringify(make()))),
}))

export interface DashboardQuery {
  /** `dashboard: panel`, for a person. */
  readonly where: string
  readonly expr: string
}

/**
 * All queries.
 * @param range instead of Grafana's `$__rate_interval`, at least four scrapes.
 */
export function dashboardQueries(range: string): readonly DashboardQuery[] {
  return dashboards.flatMap(({ title, panels }) =>
    panels.flatMap((panel) =>
      panel.targets.map(({ expr }) => ({
        where: `${title}: ${panel.title}`,
        expr: expr.replaceAll('$__rate_interval', range),
      })),
    ),
  )
}
