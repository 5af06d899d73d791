// The rules of Prometheus: made from one source, equal to what sloth makes of our promises, written
// so that Prometheus 2.42 and 3.x read them alike, and each alert with a runbook that is true.
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { SYMPTOMS } from '../../../../infra/monitoring/alerts.ts'
import { MONITORING_FILES } from '../../../../infra/monitoring/files.ts'
import { durationText, paceOf, TRUE_PACE } from '../../../../infra/monitoring/pace.ts'
import type { AlertingRule, Rule } from '../../../../infra/monitoring/rule-file.ts'
import { budgetGroups, RUNBOOKS, symptomGroups } from '../../../../infra/monitoring/rules.ts'
import { sloFile } from '../../../../infra/monitoring/slo-rules.ts'
import { COMPILED } from '../../../support/compiled.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const PAGES = 'docs/runbooks'
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

const rules = [...symptomGroups(TRUE_PACE), ...budgetGroups(TRUE_PACE)].flatMap((group) => group.rules)
const isAlert = (rule: Rule): rule is AlertingRule => 'alert' in rule
const alerts = rules.filter(isAlert)
const names = [...new Set(alerts.map(({ alert }) => alert))]

describe('the files that are made', () => {
  test.each(Object.keys(MONITORING_FILES))('%s is not stale: npm run gen', (file) => {
    expect(read(file)).toBe(MONITORING_FILES[file]?.())
  })

  test('are what Compose and Kubernetes use', () => {
    expect(read('docker-compose.yml')).toContain('./infra/monitoring:/etc/prometheus:ro')
    expect(parse(read('infra/monitoring/prometheus.yml'))).toMatchObject({
      rule_files: ['/etc/prometheus/*.rules.yml'],
    })
    expect(read('infra/kubernetes/base/kustomization.yaml')).toContain('alerts.yaml')
  })
})

describe('the promises', () => {
  test('become what sloth itself makes of them', () => {
    // Made by sloth 0.16.0 of slo.yml; its mark of itself, sloth_slo_info, is left out.
    const made = z
      .object({ groups: z.array(z.object({ name: z.string(), rules: z.array(z.looseObject({})) })) })
      .parse(parse(readFileSync(path.join(import.meta.dirname, 'by-sloth.yml'), 'utf8')))
    const theirs = made.groups.map(({ name, rules: all }) => ({
      name,
      rules: all.filter(({ record }) => record !== 'sloth_slo_info'),
    }))
    expect(theirs).toEqual(budgetGroups(TRUE_PACE))
  })

  test('say nothing that the generator would leave out', () => {
    const file = { version: 'prometheus/v1', service: 'x', slos: [], labels: { owner: 'me' } }
    expect(() => sloFile.parse(file)).toThrow(/labels/)
  })
})

describe('a pace', () => {
  test('is the true one unless a drill asks for another', () => {
    expect([TRUE_PACE.duration(300), TRUE_PACE.duration(3_600), TRUE_PACE.age(120)]).toEqual([
      '5m',
      '1h',
      '120',
    ])
  })

  test('makes all of a rule quicker by one factor', () => {
    const quick = paceOf(1 / 12)
    expect([quick.duration(300), quick.duration(3_600), quick.age(120)]).toEqual(['25s', '5m', '10'])
    expect(quick.duration(1)).toBe('5s')
  })

  test.each([
    [90, '90s'],
    [7_200, '2h'],
    [259_200, '3d'],
  ])('%i s is %s', (seconds, text) => {
    expect(durationText(seconds)).toBe(text)
  })
})

describe('an expression', () => {
  /** What Prometheus 2.42 and 3.x read differently, or only one of them knows. */
  const APART: Readonly<Record<string, RegExp>> = {
    // Prometheus 3 stores the bound of a bucket as 30.0, whatever the scrape said.
    'a bucket is chosen by a regular expression': /\ble="/,
    'holt_winters has another name in 3': /\bholt_winters\b/,
    'the point matches a newline in 3 alone': /=~"[^"]*\.\+[^"]*\n/,
    'native histograms': /\bhistogram_(?:count|sum|fraction|avg)\b/,
    '@ and smoothed ranges': /\b(?:anchored|smoothed)\b|@ (?:start|end)/,
  }

  test.each(Object.entries(APART))('is read alike by 2.42 and 3.x: %s', (_what, pattern) => {
    expect(rules.filter(({ expr }) => pattern.test(expr))).toEqual([])
  })

  test('that is not alike is found (control)', () => {
    expect('x_bucket{le="30"}').toMatch(APART['a bucket is chosen by a regular expression'] ?? /^$/)
  })

  test('looks at ranges of several scrapes, which are 15 s apart', () => {
    const ranges = rules.flatMap(({ expr }) => [...expr.matchAll(/\[(\d+)(s|m)\]/g)])
    expect(ranges.length).toBeGreaterThan(20)
    for (const [text, count, unit] of ranges)
      expect(Number(count) * (unit === 'm' ? 60 : 1), text).toBeGreaterThanOrEqual(60)
  })
})

describe('an alert', () => {
  test('has a name, a severity, words and the address of its runbook', () => {
    expect(names.length).toBeGreaterThan(20)
    for (const { alert, labels, annotations } of alerts) {
      expect(alert).toMatch(/^Calstream[A-Z][A-Za-z]+$/)
      expect(['critical', 'warning', 'info']).toContain(labels['severity'])
      expect(annotations['summary']?.length, alert).toBeGreaterThan(10)
      expect(annotations['description']?.length, alert).toBeGreaterThan(10)
      expect(annotations['runbook_url']).toBe(`${RUNBOOKS}/${alert}.md`)
    }
  })

  test('is told of with labels that its expression has', () => {
    for (const { alert, expr, annotations } of alerts.filter(({ labels }) => !labels['sloth_severity']))
      for (const [, label = ''] of Object.values(annotations)
        .join()
        .matchAll(/\$labels\.(\w+)/g))
        expect(expr, `${alert} tells ${label}`).toMatch(
          new RegExp(String.raw`\b(?:by \([^)]*\b${label}\b|up\{|"${label}")`),
        )
  })
})

describe('a runbook', () => {
  const pages = readdirSync(path.join(ROOT, PAGES)).filter((name) => name !== 'README.md')

  test('is there for each alert, and for nothing else', () => {
    expect(pages.toSorted()).toEqual(names.map((name) => `${name}.md`).toSorted())
  })

  test('is listed, with its severity, on the page of all', () => {
    const listed = [...read(`${PAGES}/README.md`).matchAll(/^\| \[(\w+)\]\(\1\.md\) \| (\w+)/gm)]
    expect(new Map(listed.map(([, name, severity]) => [name, severity]))).toEqual(
      new Map(alerts.toReversed().map(({ alert, labels }) => [alert, labels['severity']])),
    )
  })

  test.each(pages)('%s says what it means, where to look, what to do, and what happens', (page) => {
    const text = read(`${PAGES}/${page}`)
    expect([...text.matchAll(/^##? (.+)$/gm)].map(([, title]) => title)).toEqual([
      page.replace('.md', ''),
      'What it means',
      'Look',
      'Do',
      'What happens automatically',
    ])
    const severities = alerts
      .filter(({ alert }) => `${alert}.md` === page)
      .map(({ labels }) => labels['severity'])
    for (const severity of severities) expect(/^Severity: (.+)$/m.exec(text)?.[1]).toContain(severity)
    for (const [, link = ''] of text.matchAll(/\]\((?!https:)([^)#]+)/g))
      expect(existsSync(path.join(ROOT, PAGES, link)), link).toBe(true)
  })

  test('names commands that there are', async () => {
    const program = path.join(ROOT, 'services/cli/main.ts')
    const { stdout } = await promisify(execFile)(process.execPath, [program, '--help'], {
      env: { ...process.env, ...COMPILED },
    })
    const known = [...stdout.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name]) => name)
    const asked = pages.flatMap((page) => [
      ...read(`${PAGES}/${page}`).matchAll(/(?:^|`)calstream ([a-z-]+)/gm),
    ])
    expect(asked.length).toBeGreaterThan(30)
    expect(asked.map(([, name]) => name).filter((name) => !known.includes(name))).toEqual([])
  })

  test('names metrics that there are', () => {
    const source = read('services/shared/process/metrics.ts')
    const asked = pages.flatMap((page) => [
      ...read(`${PAGES}/${page}`).matchAll(/\bcalendar_sync_[a-z_]+[a-z]/g),
    ])
    const missing = asked
      .map(([name]) => name)
      .filter((name) => !source.includes(`'${name.replace(/_(?:total|bucket|count)$/, '')}'`))
    expect(missing).toEqual([])
  })
})

describe('the example for Alertmanager', () => {
  const file = z
    .object({
      inhibit_rules: z.array(
        z.object({ source_matchers: z.array(z.string()), target_matchers: z.array(z.string()) }),
      ),
    })
    .parse(parse(read('infra/monitoring/alertmanager.yml')))
  const namesIn = (matchers: readonly string[]) =>
    matchers.flatMap((one) => /^alertname=~?"([\w|]+)"$/.exec(one)?.[1]?.split('|') ?? [])

  test('names alerts that there are, and lets no alert hold itself back', () => {
    expect(file.inhibit_rules.length).toBeGreaterThan(2)
    for (const { source_matchers: causes, target_matchers: held } of file.inhibit_rules) {
      const [sources, targets] = [namesIn(causes), namesIn(held)]
      expect(Math.min(sources.length, targets.length)).toBeGreaterThan(0)
      expect([...sources, ...targets].filter((name) => !names.includes(name))).toEqual([])
      expect(sources.filter((name) => targets.includes(name))).toEqual([])
    }
  })
})

test('every symptom has a name of its own', () => {
  expect(new Set(SYMPTOMS.map(({ name }) => name)).size).toBe(SYMPTOMS.length)
})
