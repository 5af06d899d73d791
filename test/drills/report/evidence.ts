// The evidence of one run as plain data, small enough to be committed. It names the ledgers behind
// it by their digests and sizes.
import { createHash } from 'node:crypto'
import { cpus, release } from 'node:os'
import { execFileSync } from 'node:child_process'
import { repeatedMessages } from '../checkers/stream.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import type { DrillResult } from '../run-drill.ts'

export interface Evidence {
  readonly schema: 'drill-evidence/1'
  readonly drill: string
  readonly title: string
  readonly report: string
  readonly evidenceClass: 'executed'
  readonly profile: string
  readonly seed: number
  readonly build: Build
  readonly host: { readonly cores: number; readonly kernel: string }
  readonly start: string
  readonly end: string
  readonly verdict: string
  readonly reasons: readonly string[]
  readonly criteria: readonly {
    readonly id: string
    readonly text: string
    readonly verdict: string
    readonly evidence: string
  }[]
  readonly invariants: readonly {
    readonly id: string
    readonly title: string
    readonly verdict: string
    readonly checked: number
    readonly failed: number
    readonly failures: readonly string[]
  }[]
  readonly witnesses: readonly {
    readonly name: string
    readonly need: number
    readonly got: number
    readonly met: boolean
  }[]
  readonly timeline: readonly {
    readonly t: number
    readonly fault: string
    readonly action: string
    readonly target: string
    readonly verifiedActive: number | null
    readonly verifiedHealed: number | null
  }[]
  readonly numbers: Readonly<Record<string, number>>
  readonly faults: readonly string[]
  readonly limits: string | null
  readonly repro: string
}

export interface Build {
  readonly git: string
  readonly dirty: boolean
  readonly node: string
}

/** Faults told one by one; an hour of chaos has a thousand. */
export const TIMELINE_MAX = 200
const TEXT_MAX = 400

/** Which code was drilled; 'unknown' outside a repository. */
export function currentBuild(folder: string): Build {
  const git = (...args: string[]) => {
    try {
      return execFileSync('git', args, {
        cwd: folder,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
    } catch {
      return 'unknown'
    }
  }
  return {
    git: git('rev-parse', '--short=12', 'HEAD'),
    dirty: git('status', '--porcelain', '--', 'services', 'schemas', 'infra') !== '',
    node: process.versions.node,
  }
}

export function evidenceOf(result: DrillResult, build: Build): Evidence {
  const { drill, profile, seed, ledgers, startedAt } = result
  const since = (at: number | null) => (at === null ? null : Math.round(at - startedAt) / 1_000)
  return {
    schema: 'drill-evidence/1',
    drill: drill.id,
    title: drill.title,
    report: drill.report,
    evidenceClass: 'executed',
    profile,
    seed,
    build,
    host: { cores: cpus().length, kernel: release() },
    start: new Date(startedAt).toISOString(),
    end: new Date(result.endedAt).toISOString(),
    verdict: result.verdict,
    reasons: result.reasons.map(cut),
    criteria: [...result.criteria].map(([id, { verdict, evidence }]) => ({
      id,
      text: drill.criteria[id]?.text ?? '',
      verdict,
      evidence: cut(evidence),
    })),
    invariants: result.invariants.map(({ failures, ...rest }) => ({
      ...rest,
      failures: failures.slice(0, 5).map(cut),
    })),
    witnesses: result.witnesses.map((witness) => ({ ...witness, met: witness.got >= witness.need })),
    timeline: (ledgers?.nemesis ?? []).slice(0, TIMELINE_MAX).map((entry) => ({
      t: since(entry.startedAt) ?? 0,
      fault: entry.fault,
      action: entry.action,
      target: cut(entry.target),
      verifiedActive: since(entry.activeAt),
      verifiedHealed: since(entry.healedAt),
    })),
    numbers: { ...result.numbers, ...(ledgers ? figures(ledgers) : {}) },
    faults: drill.faults,
    limits: drill.limits ?? null,
    repro: `npm run drill -- ${drill.id}${drill.flags ?? ''} --profile ${profile} --seed ${seed}`,
  }
}

/** What every drill tells, in the same words. */
export function figures(ledgers: Ledgers): Record<string, number> {
  const rssPeakMb = Math.round(Math.max(0, ...ledgers.samples.map(({ rssMb }) => rssMb)))
  return {
    changes: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
    kills: ledgers.processes.filter(({ event }) => event === 'ended').length,
    topicDuplicates: repeatedMessages(ledgers),
    apiCalls: ledgers.calls.length,
    webhooks: ledgers.webhooks.length,
    auditRows: ledgers.audit.length,
    recoveryAfterHealMs: Math.round((ledgers.marks.convergedAt ?? Infinity) - ledgers.marks.healedAt),
    rssPeakMb,
  }
}

/** Digest of a ledger as it was judged, so that kept ledgers can be told from others. */
export function digestOf(ledger: unknown): string {
  return `sha256:${createHash('sha256').update(JSON.stringify(ledger, plain)).digest('hex')}`
}

/** For JSON, which knows neither maps nor integers beyond 2^53. */
export function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value)
  if (typeof value === 'bigint') return value.toString()
  return value
}

function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > TEXT_MAX ? `${line.slice(0, TEXT_MAX)} …` : line
}
