// What the benchmarks found, as docs/performance.md. Every figure says what it was compared with in
// the same run; the machine is described by what matters for the figures and never by its name.
import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, platform, totalmem } from 'node:os'
import { percentile } from '../../infra/oracle/verify.ts'

export interface BenchResult {
  readonly name: string
  readonly title: string
  /** What was done and what is compared, in sentences. */
  readonly what: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** What holds or does not, measured against an aim. */
  readonly verdicts: readonly string[]
  /** Of the run that found this: ISO time, and the one-minute load before it. */
  readonly run?: { readonly at: string; readonly load: number }
}

export interface Machine {
  readonly cores: number
  readonly model: string
  readonly memoryGb: number
  readonly system: string
  readonly node: string
}

export function machineFacts(): Machine {
  const [core] = cpus()
  return {
    cores: cpus().length,
    model: core?.model.trim() ?? 'unknown',
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${arch()}`,
    node: process.versions.node,
  }
}

/** The one-minute load: below 1, nothing else ran. */
export function loadBefore(): number {
  return loadavg()[0] ?? 0
}

/** The five-second load of /proc: how many processes want a core right now. */
export function runnable(): number {
  try {
    return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[3]?.split('/')[0] ?? 0)
  } catch {
    return 0
  }
}

export function milliseconds(value: number | null): string {
  if (value === null) return '–'
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`
}

export function quantiles(samples: readonly number[]): readonly string[] {
  return [0.5, 0.95, 0.99].map((share) => milliseconds(percentile(samples, share)))
}

/** The whole document. `results`: newest run of each benchmark. */
export function document(results: readonly BenchResult[], machine: Machine): string {
  return [
    '# Performance',
    '',
    'Written by `npm run bench`. Every ratio compares two measurements of the same run on the same machine; absolute figures',
    'belong to that machine. All parts (services, play vendor, Kafka, Postgres, registry, Unleash and the reader that measures)',
    'share its cores.',
    '',
    `The machine: ${machine.cores} cores (${machine.model}), ${machine.memoryGb} GB, ${machine.system}, Node ${machine.node}, Postgres without fsync.`,
    '',
    ...results.flatMap(section),
  ].join('\n')
}

function section({ name, title, what, columns, rows, verdicts, run }: BenchResult): string[] {
  return [
    `## ${title}`,
    '',
    `\`npm run bench -- ${name}\`. ${what}`,
    '',
    `| ${columns.join(' | ')} |`,
    `|${columns.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
    ...verdicts.map((verdict) => `- ${verdict}`),
    ...(run ? [`- ${measuredWhen(run)}`] : []),
    '',
  ]
}

function measuredWhen({ at, load }: NonNullable<BenchResult['run']>): string {
  const calm = load < 1 ? 'nothing else ran' : 'other work ran beside it, so absolute figures are too high'
  return `Measured ${at.slice(0, 16).replace('T', ' ')} UTC; one-minute load before it ${load.toFixed(1)}: ${calm}.`
}
