// promtool, which comes with Prometheus, reads what is shipped: each rule parses, and each alert
// fires when it should and at no other time. The rules are the shipped ones at their true pace.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { TRUE_PACE } from '../../../infra/monitoring/pace.ts'
import { budgetGroups, symptomGroups } from '../../../infra/monitoring/rules.ts'
import { cacheFolder } from '../../../infra/stack/java-parts.ts'
import { fetchPrometheus, type PrometheusParts } from '../../../infra/stack/prometheus-parts.ts'
import type { AlertCase } from '../../support/alert-case.ts'
import { casesOf, WELL } from '../../support/alert-cases.ts'

const MONITORING = path.resolve(import.meta.dirname, '../../../infra/monitoring')
const FILES = ['symptoms.rules.yml', 'slo.rules.yml'].map((name) => path.join(MONITORING, name))
const ALERTS = [
  ...new Set(
    [...symptomGroups(TRUE_PACE), ...budgetGroups(TRUE_PACE)].flatMap(({ rules }) =>
      rules.flatMap((rule) => ('alert' in rule ? rule.alert : [])),
    ),
  ),
]

let parts: PrometheusParts
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-promtool-'))
  const cache = cacheFolder(process.env, homedir())
  parts = await fetchPrometheus({ cache, env: process.env }, AbortSignal.timeout(110_000))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What it prints; rejects with that when it finds something wrong. */
async function promtool(...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(parts.promtool, [...args])
    return stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${stdout}${stderr}`, { cause: error })
  }
}

const firing = 'group by (alertname) (ALERTS{alertstate="firing"})'

function testOf({ what, series, at, fires }: AlertCase) {
  return {
    name: what,
    interval: '1m',
    input_series: Object.entries({ ...WELL, ...series }).map(([name, values]) => ({ series: name, values })),
    promql_expr_test: [
      {
        expr: firing,
        eval_time: `${at}m`,
        exp_samples: [...fires].map((name) => ({ labels: `{alertname="${name}"}`, value: 1 })),
      },
    ],
  }
}

async function judge(name: string, cases: readonly AlertCase[]): Promise<string> {
  const file = path.join(folder, `${name}.yml`)
  writeFileSync(file, stringify({ rule_files: FILES, evaluation_interval: '1m', tests: cases.map(testOf) }))
  return promtool('test', 'rules', file)
}

describe('promtool', () => {
  test('reads the rules', async () => {
    expect(await promtool('check', 'rules', ...FILES)).toMatch(/SUCCESS: \d+ rules found/)
  })

  test('reads the settings of Prometheus', async () => {
    expect(
      await promtool('check', 'config', '--syntax-only', path.join(MONITORING, 'prometheus.yml')),
    ).toContain('SUCCESS')
  })

  test('fails for an alert that does not fire (control)', async () => {
    const [first] = casesOf('CalstreamOutboxWaits')
    if (!first) throw new Error('there is no case')
    await expect(judge('control', [{ ...first, series: {} }])).rejects.toThrow(/FAILED/)
  })
})

describe('a fleet that is well', () => {
  test.each([1, 30, 300])('fires nothing after %i min', async (at) => {
    await judge(`well-${at}`, [{ what: 'well', series: {}, at, fires: [] }])
  })
})

describe('an alert fires when it should, and at no other time', () => {
  test.each(ALERTS)('%s', async (alert) => {
    const cases = casesOf(alert)
    expect(cases.filter(({ fires }) => fires.includes(alert)).length).toBeGreaterThanOrEqual(1)
    expect(cases.filter(({ fires }) => !fires.includes(alert)).length).toBeGreaterThanOrEqual(1)
    await judge(alert, cases)
  })
})
