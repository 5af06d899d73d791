// The manifests of infra/kubernetes as they are applied: files as they stand, and overlays as
// kubectl or kustomize makes them, where this machine has one of the two.
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseEnv, promisify } from 'node:util'
import { z } from 'zod'
import { parseAllDocuments } from 'yaml'

export const KUBERNETES = path.resolve(import.meta.dirname, '../../infra/kubernetes')
export const OVERLAYS = ['prepare', 'small', 'large'] as const

const named = z.object({ name: z.string() })
const metadata = z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() })

const probe = z.object({ httpGet: z.object({ path: z.string(), port: z.string() }) })
const container = z.looseObject({
  image: z.string(),
  args: z.array(z.string()),
  envFrom: z.array(z.object({ configMapRef: named })).default([]),
  env: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
  volumeMounts: z
    .array(z.object({ name: z.string(), mountPath: z.string(), readOnly: z.literal(true) }))
    .default([]),
  startupProbe: probe.optional(),
  livenessProbe: probe.optional(),
  readinessProbe: probe.optional(),
  lifecycle: z.object({ preStop: z.object({ sleep: z.object({ seconds: z.number() }) }) }).optional(),
  resources: z.object({
    requests: z.record(z.string(), z.string()),
    limits: z.record(z.string(), z.string()),
  }),
  securityContext: z.unknown(),
})
const pod = z.looseObject({
  securityContext: z.unknown(),
  automountServiceAccountToken: z.boolean(),
  enableServiceLinks: z.boolean().default(true),
  terminationGracePeriodSeconds: z.number().default(30),
  containers: z.tuple([container]),
  volumes: z
    .array(
      z.object({ name: z.string(), secret: z.object({ secretName: z.string(), defaultMode: z.number() }) }),
    )
    .default([]),
})

/** What runs pods: a Deployment or a Job. */
export const workload = z.object({
  kind: z.enum(['Deployment', 'Job']),
  metadata,
  spec: z.looseObject({
    replicas: z.number().optional(),
    template: z.object({ metadata: metadata.omit({ name: true }), spec: pod }),
  }),
})
export type Workload = z.output<typeof workload>

const manifest = z.looseObject({ apiVersion: z.string(), kind: z.string(), metadata })
export type Manifest = z.output<typeof manifest>

export interface FileManifest {
  /** Below infra/kubernetes. */
  readonly file: string
  readonly manifest: Manifest
}

export function manifestsIn(yaml: string): readonly Manifest[] {
  return parseAllDocuments(yaml).map((document) => manifest.parse(document.toJS()))
}

/** Every manifest of every file; kustomizations, which are for kustomize, left out. */
export function fileManifests(): readonly FileManifest[] {
  return readdirSync(KUBERNETES, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml') && !file.endsWith('kustomization.yaml'))
    .toSorted()
    .flatMap((file) =>
      manifestsIn(readFileSync(path.join(KUBERNETES, file), 'utf8')).map((one) => ({ file, manifest: one })),
    )
}

/** Files and folders that a kustomization names. */
export function resourcesOf(folder: string): readonly string[] {
  const text = readFileSync(path.join(KUBERNETES, folder, 'kustomization.yaml'), 'utf8')
  const shape = z.looseObject({ resources: z.array(z.string()).default([]) })
  return shape.parse(parseAllDocuments(text)[0]?.toJS()).resources
}

/** The settings of each ConfigMap that settings/kustomization.yaml makes, by its name. */
export function settingGroups(): ReadonlyMap<string, Readonly<Record<string, string>>> {
  const folder = path.join(KUBERNETES, 'settings')
  const shape = z.looseObject({
    configMapGenerator: z.array(z.object({ name: z.string(), envs: z.tuple([z.string()]) })),
  })
  const document = parseAllDocuments(readFileSync(path.join(folder, 'kustomization.yaml'), 'utf8'))[0]
  return new Map(
    shape.parse(document?.toJS()).configMapGenerator.map(({ name, envs: [file] }) => {
      const settings = parseEnv(readFileSync(path.join(folder, file), 'utf8'))
      return [name, Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, value ?? '']))]
    }),
  )
}

/** What carries out kustomizations here; null where neither is installed. */
export async function renderer(): Promise<((overlay: string) => Promise<readonly Manifest[]>) | null> {
  for (const [command, ...args] of [
    ['kubectl', 'kustomize'],
    ['kustomize', 'build'],
  ] as const) {
    const render = async (folder: string) =>
      (await promisify(execFile)(command, [...args, folder], { maxBuffer: 64 * 1024 * 1024 })).stdout
    try {
      await render(path.join(KUBERNETES, 'settings'))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
      throw error
    }
    return async (overlay) => manifestsIn(await render(path.join(KUBERNETES, overlay)))
  }
  return null
}
