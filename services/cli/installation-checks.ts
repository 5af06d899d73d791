// What `calstream doctor` sees of an installation before the first person connects: clocks that
// differ, services with other keys than their siblings, an address that no vendor reaches, and an
// app that a vendor does not know. Each returns what is well and throws Red for what is not.
import { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { callbackPath, unreachableAddress, webhookPath } from '#shared/vendors/our-addresses.ts'
import { channelEnv, vendorsEnv } from '#shared/vendors/settings.ts'
import type { ServiceName } from './config.ts'
import type { KeyMark, ServiceLook } from './look-at-services.ts'
import { fetchWithin, lookWithin, seenOf } from './look.ts'

/** What is not well, with a remedy of its own. */
export class Red extends Error {
  readonly remedy: string

  constructor(found: string, remedy: string) {
    super(found)
    this.remedy = remedy
  }
}

/** More than any network makes of two good clocks; from here on tokens and signatures fail. */
const CLOCK_MS_MAX = 5 * 60_000
const MINUTE_MS = 60_000
const LIMIT_MS = 8_000

type Services = () => Promise<readonly ServiceLook[]>

interface Clock {
  readonly of: string
  /** How far this machine's clock is ahead of it. */
  readonly aheadMs: number
}

/**
 * Compares this machine's clock with that of everything that answers over HTTP. What does not
 * answer has a line of its own.
 */
export async function clocks(env: NodeJS.ProcessEnv, services: Services): Promise<string> {
  const seen = (await Promise.all([...placesOf(env).map(clockOf), clocksOf(services)])).flat()
  const off = seen.filter(({ aheadMs }) => Math.abs(aheadMs) > CLOCK_MS_MAX)
  if (off.length === 0) return seen.length === 0 ? 'nothing answers that tells its time' : 'all clocks agree'
  // All of them, and in one direction: it is ours.
  const isOurs = off.length === seen.length && off.every(({ aheadMs }) => aheadMs > 0 === off[0]!.aheadMs > 0)
  const differ = off.map(({ of, aheadMs }) => `${of} by ${minutesOf(aheadMs)}`).join(', ')
  throw isOurs
    ? new Red(`the clock of this machine is ${sideOf(off[0]!)} that of ${differ}`, setClock('this machine'))
    : new Red(`clocks differ from that of this machine: ${differ}`, setClock('the machine named'))
}

const setClock = (whose: string) =>
  `set the clock of ${whose} by NTP (timedatectl set-ntp true): tokens, signatures and leases end by it`

function sideOf({ aheadMs }: Clock): string {
  return aheadMs > 0 ? 'ahead of' : 'behind'
}

function minutesOf(ms: number): string {
  return `${Math.round(Math.abs(ms) / MINUTE_MS)} min`
}

function placesOf(env: NodeJS.ProcessEnv): readonly { readonly of: string; readonly url: string }[] {
  const config = readEnv(z.object({ ...vendorsEnv, UNLEASH_URL: unleashEnv.UNLEASH_URL.optional() }), env)
  // Without a vendor there is still a clock to compare: a relay has none.
  return [
    ...(config.GOOGLE_CLIENT_ID !== undefined ? [{ of: 'Google', url: config.GOOGLE_API_URL }] : []),
    ...(config.MICROSOFT_CLIENT_ID !== undefined ? [{ of: 'Microsoft', url: config.MICROSOFT_API_URL }] : []),
    ...(config.UNLEASH_URL === undefined ? [] : [{ of: 'the flag server', url: config.UNLEASH_URL }]),
  ]
}

async function clockOf({
  of,
  url,
}: {
  readonly of: string
  readonly url: string
}): Promise<readonly Clock[]> {
  const aheadMs = seenOf(await lookWithin(() => fetchWithin(url)))?.aheadMs ?? null
  return aheadMs === null ? [] : [{ of, aheadMs }]
}

async function clocksOf(services: Services): Promise<readonly Clock[]> {
  return (await services()).flatMap(({ name, aheadMs }) => (aheadMs === null ? [] : [{ of: name, aheadMs }]))
}

/** What has to be told by one service and understood by the others, and who has it. */
const RINGS: Readonly<Record<string, string>> = {
  CREDENTIALS_KEYS: 'ingress, sync and scheduler',
  CHANNEL_TOKEN_KEYS: 'ingress and scheduler',
}

/** Whether what one service seals or signs can be read by the others. */
export async function keys(services: Services): Promise<string> {
  const looked = (await services()).filter((service) => service.keys.length > 0)
  for (const [ring, owners] of Object.entries(RINGS)) {
    const having = looked.map(({ name, keys }) => ({ name, keys: keys.filter((key) => key.ring === ring) }))
    const found = keyConflict(having.filter((one) => one.keys.length > 0))
    if (found !== null) throw new Red(`${ring}: ${found}`, `give ${owners} the same ${ring} and restart them`)
  }
  return looked.length < 2 ? 'not compared: fewer than two services tell theirs' : 'services have the same'
}

interface Holder {
  readonly name: ServiceName
  readonly keys: readonly KeyMark[]
}

/** The first key that one service uses and another one lacks or has otherwise; null for none. */
function keyConflict(holders: readonly Holder[]): string | null {
  for (const user of holders)
    for (const key of user.keys.filter(({ isCurrent }) => isCurrent))
      for (const other of holders) {
        const same = other.keys.find(({ kid }) => kid === key.kid)
        if (same === undefined) return `${user.name} uses key "${key.kid}", which ${other.name} does not have`
        if (same.mark !== key.mark)
          return `key "${key.kid}" is not the same in ${user.name} and ${other.name}`
      }
  return null
}

/**
 * Asks at PUBLIC_URL what Graph asks before it opens a channel, and prints what has to be
 * registered at the vendors.
 */
export async function publicAddress(env: NodeJS.ProcessEnv): Promise<string> {
  const config = readEnv(z.object({ ...vendorsEnv, PUBLIC_URL: channelEnv.PUBLIC_URL.optional() }), env)
  const { PUBLIC_URL: url } = config
  if (url === undefined) return 'PUBLIC_URL is not set here, so it is not looked at'
  const apis = { google: config.GOOGLE_API_URL, microsoft: config.MICROSOFT_API_URL }
  const used = [...createVendors(config).keys()]
  const problem = unreachableAddress(
    url,
    used.map((name) => apis[name]),
  )
  if (problem !== null) throw new Red(problem, 'as it says')
  if (isOfAnotherMachine(url, env['ADMIN_URL_INGRESS']))
    return `${url} means the machine of the browser, and this is another one, so it is not looked at`
  await askAsGraph(url)
  const redirects = used.map((name) => `${url}${callbackPath(name)}`)
  return `leads to the ingress; redirect addresses: ${redirects.join(' ')}`
}

const PROBE = 'calstream-doctor'
/** An answer of ours that is no echo: the gate of the webhooks is closed or not known. */
const OURS = z.object({ type: z.literal('about:blank'), error: z.string(), detail: z.string() })

const LOOPBACK = /^(?:localhost|127\.[\d.]+|\[::1\])$/

/** An address of loopback, while the ingress is elsewhere: in a container of its own. */
function isOfAnotherMachine(url: string, ingressAdmin = ''): boolean {
  const [ingress] = ingressAdmin.split(',').map((one) => URL.parse(one.trim())?.hostname)
  return LOOPBACK.test(new URL(url).hostname) && ingress !== undefined && !LOOPBACK.test(ingress)
}

async function askAsGraph(url: string): Promise<void> {
  const remedy =
    'make PUBLIC_URL lead to INGRESS_PORT of the ingress, over https with a certificate of a public authority; from a network that cannot reach its own public address, ask from outside'
  const asked = new URL(`${url}${webhookPath('microsoft')}`)
  asked.searchParams.set('validationToken', PROBE)
  const looked = await lookWithin(() => fetchWithin(asked, { method: 'POST', limitMs: LIMIT_MS }), LIMIT_MS)
  if ('problem' in looked)
    throw new Red(
      `PUBLIC_URL cannot be reached from here (${looked.problem}), so vendors may not ring`,
      remedy,
    )
  const { status, text } = looked.seen
  const isEcho = status === 200 && text === PROBE
  if (!isEcho && !OURS.safeParse(looked.seen.json()).success)
    throw new Red(`what answers at PUBLIC_URL (${status}) is not the ingress, so vendors cannot ring`, remedy)
}

/** A token that no vendor gave: what is refused about it tells whether the app is known. */
const NO_GRANT = 'calstream-doctor-asks-whether-the-app-is-known'

/**
 * Whether the vendor's token endpoint accepts the client id, secret and tenant. It is asked for a
 * grant that does not exist, and has to refuse that grant.
 */
export async function appAccepted(env: NodeJS.ProcessEnv, name: VendorName): Promise<void> {
  const vendor = createVendors(readEnv(z.object(vendorsEnv), env)).get(name)
  if (vendor === undefined) return
  const failure = await vendor.refresh(NO_GRANT, AbortSignal.timeout(LIMIT_MS)).then(
    () => null,
    (error: unknown) => error,
  )
  if (!(failure instanceof Failure)) return
  // Of a grant that does not exist, an app that is not found is the only thing to be refused for.
  const isUnknown = failure.code === 'vendor/admin-required' && failure.number === APP_NOT_FOUND
  if (isUnknown)
    throw new Red(
      `the app of MICROSOFT_CLIENT_ID is not in the tenant of MICROSOFT_TENANT (AADSTS${APP_NOT_FOUND})`,
      'set MICROSOFT_CLIENT_ID to the application (client) id, and MICROSOFT_TENANT to the directory (tenant) id of the same app, or to common',
    )
  if (failure.code === 'vendor/client-rejected') throw new Red(failure.message, 'as it says')
}

/** "Application with identifier '…' was not found in the directory '…'". */
const APP_NOT_FOUND = 700_016
