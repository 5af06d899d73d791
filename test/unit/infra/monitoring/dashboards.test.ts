// The dashboards as Grafana reads them: addresses that stay, one Prometheus to choose, and panels
// that say what they show. Grafana itself does not run here.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { dashboardQueries, dashboards } from '../../../support/dashboard-queries.ts'

const GRAFANA = path.resolve(import.meta.dirname, '../../../../infra/monitoring/grafana')
const SOURCE = '${datasource}'

describe.each(dashboards)('the dashboard $name', ({ name, uid, templating, panels }) => {
  test('has an address that stays, and lets a person choose the Prometheus', () => {
    expect(uid).toBe(`calstream-${name}`)
    expect(templating.list).toEqual([expect.objectContaining({ name: 'datasource', type: 'datasource' })])
    const sources = panels.flatMap(({ datasource, targets }) => [
      datasource,
      ...targets.map((one) => one.datasource),
    ])
    expect(new Set(sources.map((one) => one.uid))).toEqual(new Set([SOURCE]))
  })

  test('has panels of different names that say what they show', () => {
    expect(panels.length).toBeGreaterThan(4)
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length)
    expect(panels.filter(({ description }) => description.length < 10)).toEqual([])
  })

  test('asks the metrics that there are', () => {
    const source = readFileSync(path.resolve(GRAFANA, '../../../services/shared/process/metrics.ts'), 'utf8')
    const asked = panels.flatMap(({ targets }) =>
      targets.flatMap(({ expr }) => [...expr.matchAll(/\bcalendar_sync_\w+/g)].map(([metric]) => metric)),
    )
    expect(asked.length).toBeGreaterThan(4)
    const names = asked.map((metric) => metric.replace(/_(?:total|bucket|count)$/, ''))
    expect(names.filter((metric) => !source.includes(`'${metric}'`))).toEqual([])
  })
})

test('each rate is over the interval that Grafana chooses', () => {
  const ranges = dashboardQueries('1m').flatMap(({ expr }) =>
    [...expr.matchAll(/\[(\w+)\]/g)].map(([, range]) => range),
  )
  expect(new Set(ranges)).toEqual(new Set(['1m', '1d']))
})

test('Grafana finds the files, and a Prometheus, where Compose puts them', () => {
  const folder = '/etc/grafana/calstream'
  const compose = readFileSync(path.resolve(GRAFANA, '../../../docker-compose.yml'), 'utf8')
  expect(compose).toContain(`./infra/monitoring/grafana/dashboards:${folder}:ro`)
  const read = (file: string): unknown =>
    parse(readFileSync(path.join(GRAFANA, 'provisioning', file), 'utf8'))
  expect(read('dashboards/calstream.yml')).toMatchObject({ providers: [{ options: { path: folder } }] })
  expect(read('datasources/prometheus.yml')).toMatchObject({
    datasources: [{ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true }],
  })
})
