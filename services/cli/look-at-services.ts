// The services as their operators' ports tell: ready, not ready and why, or silent. A process
// that is frozen or gone answers nothing, which is the whole point of asking it.
import { z } from 'zod'
import { SERVICES, type ServiceName } from './config.ts'
import { fetchWithin, wordsOf } from './look.ts'
import { UserError } from '#shared/process/user-error.ts'

export interface ServiceLook {
  readonly name: ServiceName
  /** null where its place is not set. */
  readonly url: string | null
  readonly state: 'ready' | 'not ready' | 'silent' | 'unknown'
  /** What is wrong, one sentence each; empty when it is ready. */
  readonly problems: readonly string[]
  /** Vendors that this process leaves alone for a while, since their calls fail. */
  readonly vendorsLeftAlone: readonly string[]
  /** The keys that it tells, by their marks. */
  readonly keys: readonly KeyMark[]
  /** How far this machine's clock is ahead of its; null where it did not tell. */
  readonly aheadMs: number | null
}

/** One key of a process: what it is called, and a mark that two processes can compare. */
export interface KeyMark {
  /** The setting that has it. */
  readonly ring: string
  readonly kid: string
  readonly mark: string
  /** Used for new work. */
  readonly isCurrent: boolean
}

const readiness = z.object({ status: z.string(), dependencies: z.record(z.string(), z.string()) })

/**
 * Asks every process, side by side. Never rejects for one that does not answer. Throws UserError
 * for an address that is none.
 */
export async function lookAtServices(env: NodeJS.ProcessEnv): Promise<readonly ServiceLook[]> {
  const places = SERVICES.flatMap((name) => urlsOf(name, env).map((url) => ({ name, url }))).filter(
    // An installation may do without it.
    ({ name, url }) => name !== 'console' || url !== null,
  )
  return Promise.all(places.map(({ name, url }) => lookAt(name, url)))
}

/**
 * ADMIN_URL_<SERVICE> (several processes: separated by commas), else the port on this machine that
 * ADMIN_PORT_<SERVICE> names.
 */
export function urlsOf(name: ServiceName, env: NodeJS.ProcessEnv): readonly (string | null)[] {
  const suffix = name.toUpperCase()
  const urls = (env[`ADMIN_URL_${suffix}`] ?? '').split(',').map((url) => url.trim())
  const named = urls.filter((url) => url !== '')
  const wrong = named.find((url) => !/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
  if (wrong !== undefined)
    throw new UserError(
      `ADMIN_URL_${suffix} cannot be used: it is no http address, like http://${name}:9464.`,
    )
  if (named.length > 0) return named.map((url) => url.replace(/\/+$/, ''))
  const port = env[`ADMIN_PORT_${suffix}`] ?? ''
  return [/^[1-9]\d{0,4}$/.test(port) ? `http://127.0.0.1:${port}` : null]
}

async function lookAt(name: ServiceName, url: string | null): Promise<ServiceLook> {
  const lost = (state: 'silent' | 'unknown', problem: string): ServiceLook => {
    return { name, url, state, problems: [problem], vendorsLeftAlone: [], keys: [], aheadMs: null }
  }
  if (url === null) return lost('unknown', `its place is not known: set ADMIN_URL_${name.toUpperCase()}`)
  const metrics = fetchWithin(`${url}/metrics`).then(
    ({ status, text }) => (status === 200 ? text : ''),
    () => '',
  )
  try {
    const answer = await fetchWithin(`${url}/readyz`)
    const parsed = readiness.safeParse(answer.json())
    if (!parsed.success) return lost('silent', `what answers at ${hostOf(url)} is another program`)
    const problems = Object.entries(parsed.data.dependencies)
      .filter(([, text]) => text !== 'ok')
      .map(([dependency, text]) => `${dependency}: ${text.replace(/\.$/, '')}`)
    const state = answer.status === 200 ? 'ready' : 'not ready'
    const text = await metrics
    const told = { vendorsLeftAlone: vendorsLeftAlone(text), keys: keyMarks(text), aheadMs: answer.aheadMs }
    return { name, url, state, problems, ...told }
  } catch (error) {
    return lost('silent', `${wordsOf(error)} at ${hostOf(url)}`)
  }
}

/** Without what else an address may hold: a name and a password. */
function hostOf(url: string): string {
  return URL.parse(url)?.host ?? 'its address'
}

/** Of the text format of Prometheus: the vendors whose breaker stands open. */
export function vendorsLeftAlone(text: string): readonly string[] {
  const open = samplesOf(text, 'calendar_sync_vendor_breaker').filter(({ value }) => value === 1)
  return [...new Set(open.flatMap(({ labels }) => labels.get('vendor') ?? []))]
}

/** Of the same text: the keys of the process (`tellKeys`, shared/boot). */
export function keyMarks(text: string): readonly KeyMark[] {
  return samplesOf(text, 'calendar_sync_keys').map(({ labels, value }) => ({
    ring: labels.get('ring') ?? '',
    kid: labels.get('kid') ?? '',
    mark: labels.get('mark') ?? '',
    isCurrent: value === 2,
  }))
}

interface Sample {
  readonly labels: ReadonlyMap<string, string>
  readonly value: number
}

/** Our labels hold no quotes and no line ends. */
function samplesOf(text: string, metric: string): readonly Sample[] {
  const lines = text.matchAll(new RegExp(String.raw`^${metric}\{([^}]*)\} (\S+)(?:\s|$)`, 'gm'))
  return [...lines].map(([, inner = '', value]) => ({
    labels: new Map([...inner.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', is = '']) => [name, is])),
    value: Number(value),
  }))
}
