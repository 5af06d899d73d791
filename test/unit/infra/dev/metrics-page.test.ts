// docs/metrics.md against what a scrape shows and against who counts.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { METRIC_GROUPS, metrics } from '#shared/process/metrics.ts'
import { metricFacts, metricsPage, scrapedName } from '../../../../infra/dev/metrics-page.ts'
import { scrapeOfEvery } from '../../../support/every-metric.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')
const LIST = 'services/shared/process/metrics.ts'

/** Services and the files in which each counts; the shared rooms are 'shared'. */
function countersOf(key: string): ReadonlySet<string> {
  const files = readdirSync(path.join(ROOT, 'services'), { recursive: true, encoding: 'utf8' })
    .map((file) => path.posix.join('services', file))
    .filter((file) => file.endsWith('.ts') && file !== LIST)
  const found = files.filter((file) => USES.get(file)?.has(key))
  return new Set(found.map((file) => file.split('/')[1] ?? ''))
}

/** What each file counts: `metrics.x`, also over a list of names. */
const USES: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  readdirSync(path.join(ROOT, 'services'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => {
      const text = read(`services/${file}`)
      const named = [...text.matchAll(/\bmetrics\.(\w+)/g)].map(([, key = '']) => key)
      const listed = /\bmetrics\[/.test(text) ? [...text.matchAll(/'(\w+)'/g)].map(([, key = '']) => key) : []
      return [path.posix.join('services', file), new Set([...named, ...listed])]
    }),
)

test('docs/metrics.md is current: `npm run gen` would change nothing', () => {
  expect(read('docs/metrics.md')).toBe(metricsPage())
})

describe('the list of metrics', () => {
  test('is grouped whole: each metric is on the page once', () => {
    const grouped = Object.values(METRIC_GROUPS).flatMap((group) => Object.keys(group))
    expect(grouped.toSorted()).toEqual(Object.keys(metrics).toSorted())
    const names = metricFacts().map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  test('has the names and types that a scrape shows', async () => {
    const shown = [...(await scrapeOfEvery()).matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(
      ([, name, type]) => `${name} ${type}`,
    )
    const typeOf = (kind: string) => (kind === 'up-down counter' ? 'gauge' : kind)
    const listed = metricFacts().map((facts) => `${scrapedName(facts)} ${typeOf(facts.kind)}`)
    expect(shown.toSorted()).toEqual(listed.toSorted())
  })

  test.each(Object.entries(metrics))('%s is counted, by those whom the page names', (key, { facts }) => {
    const counted = countersOf(key)
    expect(counted.size).toBeGreaterThan(0)
    const services = [...counted].filter((room) => room !== 'shared')
    expect(services.filter((service) => !facts.by.includes(service))).toEqual([])
    // A name that no file of its own proves is one that a shared room counts for.
    if (!counted.has('shared')) expect(services.toSorted()).toEqual(facts.by.toSorted())
  })

  test('has no id among its labels', () => {
    const labels = metricFacts().flatMap((facts) => facts.labels)
    expect(labels.length).toBeGreaterThan(50)
    expect(
      labels.filter(
        (label) => /id$|connection|account|calendar|provider|email/i.test(label) && label !== 'kid',
      ),
    ).toEqual([])
  })
})
