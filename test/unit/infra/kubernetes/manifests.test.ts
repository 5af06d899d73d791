// The manifests of Kubernetes agree with its types, run as little as they may, and give each
// service the settings that its own reader accepts, and no other. Nothing is applied: there is no
// cluster here.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { envOf, SERVICES, WORKING_SERVICES } from '../../../../services/cli/config.ts'
import { loadConfig as webConsole } from '../../../../services/console/config.ts'
import { loadConfig as ingress } from '../../../../services/ingress/config.ts'
import { loadConfig as relay } from '../../../../services/relay/config.ts'
import { loadConfig as retry } from '../../../../services/retry/config.ts'
import { loadConfig as scheduler } from '../../../../services/scheduler/config.ts'
import { loadConfig as sync } from '../../../../services/sync/config.ts'
import { VERSION } from '#shared/process/version.ts'
import { problemsOf } from '../../../support/kubernetes-types.ts'
import {
  fileManifests,
  KUBERNETES,
  type Manifest,
  OVERLAYS,
  renderer,
  resourcesOf,
  settingGroups,
  workload,
  type Workload,
} from '../../../support/manifests.ts'
import { scrapeOfEvery } from '../../../support/every-metric.ts'

const readers = { ingress, sync, retry, relay, scheduler, console: webConsole }
const KAFKA = [
  'KAFKA_BROKERS',
  'KAFKA_PREFIX',
  'KAFKA_SECURITY_PROTOCOL',
  'KAFKA_SASL_MECHANISM',
  'KAFKA_SASL_USERNAME',
  'KAFKA_SASL_PASSWORD',
  'KAFKA_SSL_CA',
]
/** What a Job's command reads: services/cli/prepare.ts and acls.ts. */
const JOB_SETTINGS: Readonly<Record<string, readonly string[]>> = {
  migrate: ['POSTGRES_URL', 'CALSTREAM_ROLE_PASSWORDS_FILE'],
  topics: KAFKA,
  acls: KAFKA,
  schemas: [
    ...KAFKA.slice(0, 4),
    'SCHEMA_REGISTRY_URL',
    'SCHEMA_REGISTRY_USERNAME',
    'SCHEMA_REGISTRY_PASSWORD',
  ],
  toggles: ['UNLEASH_URL', 'UNLEASH_ADMIN_TOKEN'],
}
const SECRETS = '/run/secrets/calstream'

const files = fileManifests()
const isWorkload = ({ kind }: Manifest) => kind === 'Deployment' || kind === 'Job'
const workloads = files
  .filter(({ manifest }) => isWorkload(manifest))
  .map(({ manifest }): [string, Workload] => [manifest.metadata.name, workload.parse(manifest)])
const ofKind = (kind: string) =>
  files.filter(({ manifest }) => manifest.kind === kind).map((one) => one.manifest)
const containerOf = ({ spec }: Workload) => spec.template.spec.containers[0]
const groups = settingGroups()

/** The variables of a pod: of its groups, and its own. */
function environmentOf(one: Workload): Record<string, string> {
  const { envFrom, env } = containerOf(one)
  return Object.fromEntries([
    ...envFrom.flatMap(({ configMapRef }) => Object.entries(groups.get(configMapRef.name) ?? {})),
    ...env.map(({ name, value }) => [name, value] as const),
  ])
}

/** The names that a reader asks its environment for, NAME_FILE counted as NAME. */
function namesReadBy(load: (env: NodeJS.ProcessEnv) => unknown): ReadonlySet<string> {
  const names = new Set<string>()
  const asked = new Proxy<NodeJS.ProcessEnv>(
    {},
    {
      get: (_target, name) => {
        names.add(String(name).replace(/_FILE$/, ''))
        return undefined
      },
    },
  )
  expect(() => load(asked)).toThrow(/is not set/)
  return names
}

describe('the manifests', () => {
  const named = files.map(({ file, manifest }) => ({ name: `${file} ${manifest.metadata.name}`, manifest }))

  test('agree with the types of Kubernetes, KEDA and the Prometheus operator', async () => {
    expect(named.length).toBeGreaterThan(25)
    expect(await problemsOf(named)).toEqual([])
  })

  test.each([
    ['an unknown member deep inside', ['spec', 'template', 'spec', 'containers', 0, 'readinesProbe'], {}],
    ['a member of another type', ['spec', 'replicas'], 'two'],
    ['no container', ['spec', 'template', 'spec', 'containers'], undefined],
  ])('would be refused with %s (control)', async (_what, place, value) => {
    const bad = structuredClone(ofKind('Deployment')[0])
    let inner: Record<string | number, unknown> = bad as Record<string, unknown>
    for (const step of place.slice(0, -1)) inner = inner[step] as Record<string | number, unknown>
    inner[place.at(-1) ?? ''] = value
    expect(await problemsOf([{ name: 'bad', manifest: bad as Manifest }])).not.toEqual([])
  })

  test.each(OVERLAYS)('are all part of an overlay: %s names files that exist', (overlay) => {
    const paths = resourcesOf(overlay).map((name) => path.join(KUBERNETES, overlay, name))
    for (const one of paths.filter((name) => name.endsWith('.yaml')))
      expect(readFileSync(one, 'utf8')).not.toBe('')
  })

  test('are named by a kustomization each', () => {
    const folders = [...OVERLAYS, 'base', 'network']
    const inUse = folders.flatMap((folder) =>
      resourcesOf(folder).map((name) => path.posix.join(folder, name)),
    )
    expect(files.map(({ file }) => file).filter((file) => !inUse.includes(file))).toEqual(
      files.map(({ file }) => file).filter((file) => file === 'secrets.example.yaml'),
    )
  })
})

describe('a pod', () => {
  test.each(workloads)('%s may do nothing that it does not need', (_name, one) => {
    const { spec } = one.spec.template
    expect(spec.automountServiceAccountToken).toBe(false)
    expect(spec.enableServiceLinks).toBe(false)
    expect(spec.securityContext).toEqual({
      runAsNonRoot: true,
      runAsUser: 1000,
      runAsGroup: 1000,
      fsGroup: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    expect(containerOf(one).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    expect(spec).not.toHaveProperty('hostNetwork')
  })

  test.each(workloads)('%s runs this version within bounds of memory', (_name, one) => {
    const { image, resources } = containerOf(one)
    expect(image).toBe(`calstream:${VERSION}`)
    expect(resources.limits['memory']).toMatch(/^\d+[MG]i$/)
    expect(resources.requests['memory']).toMatch(/^\d+Mi$/)
  })

  test.each(workloads.filter(([, { kind }]) => kind === 'Deployment'))(
    '%s is asked whether it lives, and not by its dependencies; and has time to stop',
    (_name, one) => {
      const { startupProbe, livenessProbe, readinessProbe, lifecycle } = containerOf(one)
      const paths = [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet.path)
      expect(paths).toEqual(['/livez', '/livez', '/readyz'])
      const pause = lifecycle?.preStop.sleep.seconds ?? 0
      // services/shared/process/run.ts cuts a stop off after 10 s.
      expect(one.spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(pause + 15)
      const isDoor = one.spec.template.metadata.labels?.['calstream/door'] === 'yes'
      expect(pause > 0).toBe(isDoor)
    },
  )

  test.each(WORKING_SERVICES.filter((name) => name !== 'scheduler'))('%s is scaled by KEDA alone', (name) => {
    const deployment = workloads.find(([, one]) => one.metadata.name === `calstream-${name}`)?.[1]
    expect(deployment?.spec.replicas).toBeUndefined()
  })
})

describe('the settings of a pod', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-secrets-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const KEY = Buffer.alloc(32, 7).toString('base64')

  /** The environment with the mounted secrets as files that a person could have filled. */
  function mounted(one: Workload): Record<string, string> {
    return Object.fromEntries(
      Object.entries(environmentOf(one)).map(([name, value]) => {
        if (!value.startsWith(`${SECRETS}/`)) return [name, value]
        const file = path.join(folder, path.basename(value))
        const isKeys = file.endsWith('_KEYS')
        const isUrl = file.includes('POSTGRES_URL')
        // Of a public authority: empty counts as not set.
        if (file.endsWith('_SSL_CA')) {
          writeFileSync(file, '')
          return [name, file]
        }
        writeFileSync(
          file,
          isKeys ? `k1:${KEY}` : isUrl ? 'postgres://a:b@db/calstream?sslmode=verify-full' : 's'.repeat(40),
        )
        return [name, file]
      }),
    )
  }

  const deployed = (name: string) => {
    const found = workloads.find(([one]) => one === `calstream-${name}`)?.[1]
    if (!found) throw new Error(`there is no calstream-${name}`)
    return found
  }

  test.each(SERVICES)('of %s are those that its own reader accepts, each of them read', (name) => {
    const environment = mounted(deployed(name))
    expect(() => readers[name](environment)).not.toThrow()
    const read = namesReadBy(readers[name])
    const foreign = Object.keys(environment).filter((one) => !read.has(one.replace(/_FILE$/, '')))
    expect(foreign).toEqual([])
  })

  test.each(WORKING_SERVICES)('are not enough for %s with one group less (control)', (name) => {
    const { KAFKA_BROKERS: _brokers, ...environment } = mounted(deployed(name))
    expect(() => readers[name](environment)).toThrow(/KAFKA_BROKERS is not set/)
  })

  test('of all in one process are those of each, with its own role', () => {
    const environment = mounted(deployed('all'))
    for (const name of SERVICES) expect(() => readers[name](envOf(name, environment)), name).not.toThrow()
    const read = new Set(SERVICES.flatMap((name) => [...namesReadBy(readers[name])]))
    const isRead = (name: string) =>
      read.has(name.replace(/_FILE$/, '')) || SERVICES.some((service) => ownName(name, service) !== null)
    const ownName = (name: string, service: string) => {
      const suffix = `_${service.toUpperCase()}`
      const plain = name.endsWith(suffix) ? name.slice(0, -suffix.length).replace(/_FILE$/, '') : ''
      return read.has(plain) ? plain : null
    }
    expect(Object.keys(environment).filter((name) => !isRead(name))).toEqual([])
    const roles = SERVICES.map((name) => envOf(name, environment)['POSTGRES_URL_FILE'])
    expect(new Set(roles).size).toBe(6)
  })

  test.each(Object.entries(JOB_SETTINGS))(
    'of the Job %s are those that its command reads',
    (name, wanted) => {
      const environment = environmentOf(deployed(name))
      const given = Object.keys(environment).map((one) =>
        wanted.includes(one) ? one : one.replace(/_FILE$/, ''),
      )
      expect(given.toSorted()).toEqual(wanted.toSorted())
    },
  )

  test('name the Kafka user that has the rights of each service', () => {
    const rights = readFileSync(path.resolve(KUBERNETES, '../../schemas/acls.json'), 'utf8')
    for (const name of WORKING_SERVICES) {
      const user = environmentOf(deployed(name))['KAFKA_SASL_USERNAME']
      expect(user).toBe(`calstream-${name}`)
      expect(rights).toContain(`"${user}"`)
      expect(envOf(name, environmentOf(deployed('all')))['KAFKA_SASL_USERNAME']).toBe(user)
    }
  })

  test.each(workloads)('of %s hold a secret only as a file of its own Secret', (name, one) => {
    const secret = /(?:PASSWORDS?|SECRET|TOKEN|KEYS|POSTGRES_URL)(?:_FILE)?(?:_[A-Z]+)?$/
    const secrets = Object.entries(environmentOf(one)).filter(
      ([key, value]) => secret.test(key) || value.startsWith(`${SECRETS}/`),
    )
    expect(secrets.filter(([key, value]) => !/_FILE/.test(key) || !value.startsWith(`${SECRETS}/`))).toEqual(
      [],
    )
    const { volumes } = one.spec.template.spec
    if (secrets.length === 0) return expect(volumes).toEqual([])
    expect(containerOf(one).volumeMounts).toEqual([{ name: 'secrets', mountPath: SECRETS, readOnly: true }])
    expect(volumes).toEqual([{ name: 'secrets', secret: { secretName: name, defaultMode: 0o440 } }])
    const example = z
      .object({ stringData: z.record(z.string(), z.string()) })
      .parse(ofKind('Secret').find(({ metadata }) => metadata.name === name))
    const keys = secrets.map(([, value]) => path.basename(value))
    expect(Object.keys(example.stringData).toSorted()).toEqual(keys.toSorted())
    expect(Object.values(example.stringData).filter((value) => value !== '')).toEqual([])
  })
})

describe('what is watched', () => {
  /** The names under which each metric is scraped. */
  async function scraped(): Promise<ReadonlySet<string>> {
    const lines = (await scrapeOfEvery()).split('\n')
    return new Set(lines.flatMap((line) => /^(?:# TYPE )?([a-z][\w]*)/.exec(line)?.[1] ?? []))
  }

  const expressions = ['PrometheusRule', 'ScaledObject'].flatMap((kind) =>
    [...JSON.stringify(ofKind(kind)).matchAll(/"(?:expr|query)":"((?:[^"\\]|\\.)*)"/g)].map(
      (match) => JSON.parse(`"${match[1]}"`) as string,
    ),
  )

  test('are metrics that exist', async () => {
    const names = await scraped()
    const asked = expressions.flatMap((one) => one.match(/\bcal(?:endar_sync|stream)_\w+/g) ?? [])
    expect(asked.length).toBeGreaterThan(50)
    // Others ask what Prometheus itself says, or what a rule before them recorded.
    const others = expressions.filter((one) => !/\bcal(?:endar_sync|stream)_/.test(one))
    expect(others.filter((one) => !/\bup\{|\bslo:|\bvector\(/.test(one))).toEqual([])
    expect(asked.filter((name) => !names.has(name))).toEqual([])
    expect(names.has('calendar_sync_nothing')).toBe(false)
  })

  const scaled = ofKind('ScaledObject').map((one) =>
    z
      .object({
        spec: z.object({
          scaleTargetRef: z.object({ name: z.string() }),
          minReplicaCount: z.number(),
          maxReplicaCount: z.number(),
          triggers: z.tuple([
            z.object({
              type: z.literal('prometheus'),
              metricType: z.literal('Value'),
              metadata: z.object({ query: z.string(), threshold: z.string() }).catchall(z.string()),
            }),
          ]),
        }),
      })
      .parse(one),
  )

  test('is what waits, in seconds, and never the lag of a topic; one process always runs', () => {
    expect(scaled.length).toBe(4)
    for (const { spec } of scaled) {
      expect(spec.triggers[0].metadata.query).toMatch(/_seconds/)
      expect(spec.triggers[0].metadata.query).not.toMatch(/lag|backlog/)
      expect(spec.minReplicaCount).toBeGreaterThanOrEqual(1)
      expect(workloads.map(([name]) => name)).toContain(spec.scaleTargetRef.name)
    }
  })

  test('scales no service beyond what has work for it', () => {
    const most = Object.fromEntries(
      scaled.map(({ spec }) => [spec.scaleTargetRef.name, spec.maxReplicaCount]),
    )
    expect(most['calstream-sync']).toBeLessThanOrEqual(24)
    expect(most['calstream-relay']).toBeLessThanOrEqual(16)
  })

  test('is scraped where pods have their operators’ port', () => {
    for (const [name, one] of workloads.filter(([, { kind }]) => kind === 'Deployment'))
      expect(one.spec.template.metadata.labels?.['calstream/admin'], name).toBe('yes')
    const admin = ofKind('Service').find(({ metadata }) => metadata.name === 'calstream-admin')
    const monitor = z
      .object({ spec: z.object({ selector: z.object({ matchLabels: z.record(z.string(), z.string()) }) }) })
      .parse(ofKind('ServiceMonitor')[0])
    expect(admin?.metadata.labels).toEqual(monitor.spec.selector.matchLabels)
  })
})

describe('the network', () => {
  test('lets no one in but to the door, and to the operators’ port from where metrics are gathered', () => {
    const rule = z.object({
      from: z.array(z.unknown()).optional(),
      ports: z.array(z.object({ protocol: z.literal('TCP'), port: z.number() })),
    })
    const policies = ofKind('NetworkPolicy').map((one) =>
      z
        .looseObject({
          metadata: z.looseObject({ name: z.string() }),
          spec: z.looseObject({ ingress: z.array(rule).default([]) }),
        })
        .parse(one),
    )
    const open = policies.flatMap(({ metadata, spec }) =>
      spec.ingress
        .filter(({ from }) => from === undefined)
        .map(({ ports }) => `${metadata.name} ${ports[0]?.port}`),
    )
    expect(open).toEqual(['calstream-door 8080'])
  })
})

// Rendering needs one of two programs; the files above are judged without them.
const render = await renderer()
describe.each(render === null ? [] : [...OVERLAYS])('the overlay %s, as it is applied', (overlay) => {
  test('agrees with the types, and each group of settings that a pod names is in it', async () => {
    const manifests = (await render?.(overlay)) ?? []
    const named = manifests.map((one) => ({ name: `${one.kind} ${one.metadata.name}`, manifest: one }))
    expect(await problemsOf(named)).toEqual([])
    const maps = manifests.filter(({ kind }) => kind === 'ConfigMap').map(({ metadata }) => metadata.name)
    const pods = manifests.filter(isWorkload).map((one) => workload.parse(one))
    expect(pods.length).toBeGreaterThan(0)
    const asked = pods.flatMap((one) => containerOf(one).envFrom.map(({ configMapRef }) => configMapRef.name))
    expect(asked.filter((name) => !maps.includes(name))).toEqual([])
    // Its name ends in what it holds, so that a change makes new pods.
    expect(asked.filter((name) => !/-[\da-z]{10}$/.test(name))).toEqual([])
  })
})
