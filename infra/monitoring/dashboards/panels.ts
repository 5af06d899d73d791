// Panels of the dashboards: each says what it shows in a sentence, and its queries answer for every
// size of installation.
import { DashboardBuilder, DatasourceVariableBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard'
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as GraphBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** A person chooses the Prometheus at the top of each dashboard. */
const SOURCE = { type: 'prometheus', uid: '${datasource}' }
const [HEIGHT, WIDTH, SMALL_HEIGHT, SMALL_WIDTH] = [8, 12, 4, 6]

/** Units as Grafana names them. */
type Unit = 's' | 'short' | 'ops' | 'percentunit' | 'none'

interface About {
  readonly title: string
  /** What it shows and when to worry, for the person who looks at it. */
  readonly description: string
  readonly unit: Unit
}

interface Query {
  readonly expr: string
  /** A template like `{{vendor}}`. */
  readonly legend: string
}

/** Lines over time. */
export function graph(about: About, ...queries: readonly Query[]): Builder<Panel> {
  const panel = new GraphBuilder()
    .title(about.title)
    .description(about.description)
    .unit(about.unit)
    .datasource(SOURCE)
    .min(0)
    .height(HEIGHT)
    .span(WIDTH)
  for (const one of queries) panel.withTarget(target(one))
  return panel
}

/** One figure of now for each label. */
export function figure(about: About, ...queries: readonly Query[]): Builder<Panel> {
  const panel = new StatBuilder()
    .title(about.title)
    .description(about.description)
    .unit(about.unit)
    .datasource(SOURCE)
    .height(SMALL_HEIGHT)
    .span(SMALL_WIDTH)
  for (const one of queries) panel.withTarget(target(one).instant())
  return panel
}

function target({ expr, legend }: Query): DataqueryBuilder {
  return new DataqueryBuilder().expr(expr).legendFormat(legend).datasource(SOURCE)
}

/** A dashboard with a uid that stays, so that links to it stay. */
export function dashboard(
  { uid, title, description }: { uid: string; title: string; description: string },
  panels: readonly Builder<Panel>[],
): Dashboard {
  const built = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['calstream'])
    .readonly()
    .refresh('30s')
    .time({ from: 'now-3h', to: 'now' })
    .timezone('browser')
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
  for (const panel of panels) built.withPanel(panel)
  return built.build()
}

/** A quantile of a histogram in seconds, over its labels. */
export function quantile(q: number, metric: string, by = ''): string {
  const labels = ['le', by].filter(Boolean).join(', ')
  return `histogram_quantile(${q}, sum by (${labels}) (rate(${metric}_bucket[$__rate_interval])))`
}

/** A rate a second of a counter. */
export function rate(metric: string, by: string): string {
  return `sum by (${by}) (rate(${metric}[$__rate_interval]))`
}
