// Judges manifests by the types of the Kubernetes API and of the operators. The compiler looks for
// what is unknown, missing or of another type; the validators for ranges and forms.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject'
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule'
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
import { Job } from 'kubernetes-models/batch/v1/Job'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { Secret } from 'kubernetes-models/v1/Secret'
import { Service } from 'kubernetes-models/v1/Service'
import type { Manifest } from './manifests.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const COMPILE_WITHIN_MS = 120_000

interface Kind {
  readonly module: string
  /** Throws an error that names each place. */
  readonly validate: (manifest: unknown) => void
}

/** `apiVersion kind` → its types and its validator. */
const KINDS: Readonly<Record<string, Kind>> = {
  'apps/v1 Deployment': kind('kubernetes-models/apps/v1/Deployment', Deployment),
  'batch/v1 Job': kind('kubernetes-models/batch/v1/Job', Job),
  'networking.k8s.io/v1 NetworkPolicy': kind(
    'kubernetes-models/networking.k8s.io/v1/NetworkPolicy',
    NetworkPolicy,
  ),
  'policy/v1 PodDisruptionBudget': kind(
    'kubernetes-models/policy/v1/PodDisruptionBudget',
    PodDisruptionBudget,
  ),
  'v1 ConfigMap': kind('kubernetes-models/v1/ConfigMap', ConfigMap),
  'v1 Secret': kind('kubernetes-models/v1/Secret', Secret),
  'v1 Service': kind('kubernetes-models/v1/Service', Service),
  'keda.sh/v1alpha1 ScaledObject': kind(
    '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject',
    ScaledObject,
  ),
  'monitoring.coreos.com/v1 PrometheusRule': kind(
    '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule',
    PrometheusRule,
  ),
  'monitoring.coreos.com/v1 ServiceMonitor': kind(
    '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor',
    ServiceMonitor,
  ),
}

function kind(module: string, Model: new (data?: never) => { validate: () => void }): Kind {
  return { module, validate: (manifest) => new Model(manifest as never).validate() }
}

/** What is wrong with these manifests, one sentence for each place. */
export async function problemsOf(
  manifests: readonly { readonly name: string; readonly manifest: Manifest }[],
): Promise<readonly string[]> {
  const problems: string[] = []
  const known = manifests.flatMap(({ name, manifest }) => {
    const found = KINDS[`${manifest.apiVersion} ${manifest.kind}`]
    if (!found) problems.push(`${name}: ${manifest.apiVersion} ${manifest.kind} is not known here`)
    return found ? [{ name, manifest, ...found }] : []
  })
  for (const { name, manifest, validate } of known) {
    try {
      validate(manifest)
    } catch (error) {
      problems.push(`${name}: ${String(error)}`)
    }
  }
  return [...problems, ...(await compilerProblems(known))]
}

/** One file that gives each manifest its type: an object literal may have no member too many. */
async function compilerProblems(
  manifests: readonly { readonly name: string; readonly manifest: Manifest; readonly module: string }[],
): Promise<readonly string[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-manifests-'))
  try {
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'))
    writeFileSync(path.join(folder, 'package.json'), '{"type": "module"}')
    const lines = manifests.map(
      ({ manifest, module }, at) =>
        `export const m${at}: import('${module}').I${manifest.kind} = ${JSON.stringify(manifest)}`,
    )
    writeFileSync(path.join(folder, 'manifests.ts'), lines.join('\n'))
    const tsc = path.join(ROOT, 'node_modules/.bin/tsc')
    const args = ['--noEmit', '--strict', '--skipLibCheck', '--types', '', '--target', 'es2025']
    const modules = ['--module', 'nodenext', '--moduleResolution', 'nodenext', '--pretty', 'false']
    await promisify(execFile)(tsc, [...args, ...modules, 'manifests.ts'], {
      cwd: folder,
      timeout: COMPILE_WITHIN_MS,
    })
    return []
  } catch (error) {
    const {
      stdout = '',
      stderr = '',
      message,
    } = error as { stdout?: string; stderr?: string; message: string }
    const said = [...stdout.matchAll(/^manifests\.ts\((\d+),\d+\): error \w+: (.*)$/gm)]
    if (said.length === 0) return [`${message}\n${stdout}${stderr}`]
    return said.map(([, line, what]) => `${manifests[Number(line) - 1]?.name}: ${what}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
