// What doctor sees before the first person connects: each kind of trouble, and that what is right
// is not called wrong.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { keyMarks as marksOf } from '#shared/process/keyring.ts'
import { unreachableAddress } from '#shared/vendors/our-addresses.ts'
import { appAccepted, clocks, keys, publicAddress, Red } from '../../../services/cli/installation-checks.ts'
import { keyMarks, type ServiceLook } from '../../../services/cli/look-at-services.ts'

const MINUTE_MS = 60_000
const GOOGLE = { GOOGLE_CLIENT_ID: 'id', GOOGLE_CLIENT_SECRET: 'secret-of-google' }
const MICROSOFT = { MICROSOFT_CLIENT_ID: 'id', MICROSOFT_CLIENT_SECRET: 'secret-of-microsoft' }

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

async function serve(answer: (response: ServerResponse, request: IncomingMessage) => void): Promise<string> {
  const server = createServer((request, response) => answer(response, request))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(async () => {
    server.close().closeAllConnections()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A server whose clock is so many minutes behind ours. */
const behind = (minutes: number) =>
  serve((response) => {
    response.setHeader('date', new Date(Date.now() - minutes * MINUTE_MS).toUTCString())
    response.writeHead(401).end()
  })

const service = (name: ServiceLook['name'], change: Partial<ServiceLook> = {}): ServiceLook => ({
  name,
  url: 'http://127.0.0.1:1',
  state: 'ready',
  problems: [],
  vendorsLeftAlone: [],
  keys: [],
  aheadMs: null,
  ...change,
})
const nobody = async () => []

async function redOf(check: Promise<string | void>): Promise<string> {
  const error = await check.then(
    (found) => expect.unreachable(`nothing is red: ${found ?? ''}`),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Red)
  return (error as Red).message
}

describe('the clock', () => {
  test('of a flag server alone is called its own, not ours', async () => {
    const [right, wrong] = await Promise.all([behind(0), behind(-9)])
    const env = { ...GOOGLE, GOOGLE_API_URL: right, UNLEASH_URL: `${wrong}/api` }
    expect(await redOf(clocks(env, nobody))).toBe(
      'clocks differ from that of this machine: the flag server by 9 min',
    )
  })

  test('of this machine is called wrong when all others are off in one direction', async () => {
    const [first, second] = await Promise.all([behind(-20), behind(-20)])
    const env = { ...GOOGLE, GOOGLE_API_URL: first, UNLEASH_URL: `${second}/api` }
    expect(await redOf(clocks(env, nobody))).toMatch(/^the clock of this machine is behind that of Google/)
  })

  test('of a service is looked at too', async () => {
    const looked = async () => [
      service('sync', { aheadMs: 7 * MINUTE_MS }),
      service('relay', { aheadMs: 400 }),
    ]
    const url = await behind(0)
    expect(await redOf(clocks({ ...GOOGLE, GOOGLE_API_URL: url }, looked))).toMatch(/: sync by 7 min$/)
  })

  test('is well below five minutes, and where no other clock is seen', async () => {
    const url = await behind(4)
    expect(await clocks({ ...GOOGLE, GOOGLE_API_URL: url }, nobody)).toBe('all clocks agree')
    const silent = { ...GOOGLE, GOOGLE_API_URL: 'http://127.0.0.1:1' }
    expect(await clocks(silent, nobody)).toBe('nothing answers that tells its time')
  })
})

/** As a service tells its keyring on /metrics. */
function told(ring: string, text: string): ServiceLook['keys'] {
  const lines = marksOf(new Secret(text)).map((one, index) => {
    const [kid, mark] = one.split(':')
    return `calendar_sync_keys{ring="${ring}",kid="${kid}",mark="${mark}",otel_scope_name="x"} ${index === 0 ? 2 : 1} 17\n`
  })
  return keyMarks(lines.join(''))
}

describe('the keys', () => {
  const key = (byte: number) => Buffer.alloc(32, byte).toString('base64')
  const compare = (ring: string, first: string, second: string) =>
    keys(async () => [
      service('ingress', { keys: told(ring, first) }),
      service('scheduler', { keys: told(ring, second) }),
    ])

  test.each(['CREDENTIALS_KEYS', 'CHANNEL_TOKEN_KEYS'])('of %s that differ are named', async (ring) => {
    expect(await redOf(compare(ring, `k1:${key(1)}`, `k1:${key(2)}`))).toBe(
      `${ring}: key "k1" is not the same in ingress and scheduler`,
    )
    expect(await redOf(compare(ring, `k1:${key(1)}`, `k2:${key(2)},k1:${key(1)}`))).toBe(
      `${ring}: scheduler uses key "k2", which ingress does not have`,
    )
  })

  test('of two rings are never compared with each other', async () => {
    const looked = async () => [
      service('ingress', { keys: told('CHANNEL_TOKEN_KEYS', `k1:${key(1)}`) }),
      service('sync', { keys: told('CREDENTIALS_KEYS', `k1:${key(2)}`) }),
    ]
    expect(await keys(looked)).toBe('services have the same')
  })

  test('may come in another order in the middle of a rotation', async () => {
    const both = compare('CREDENTIALS_KEYS', `k2:${key(2)},k1:${key(1)}`, `k1:${key(1)},k2:${key(2)}`)
    expect(await both).toBe('services have the same')
  })

  test('of services that do not tell theirs are not called the same', async () => {
    expect(await keys(nobody)).toMatch(/^not compared/)
    expect(await keys(async () => [service('relay'), service('retry')])).toMatch(/^not compared/)
  })

  test('are told by marks that say nothing of them', () => {
    const [mark = ''] = marksOf(new Secret(`k1:${key(1)}`))
    expect(mark).toMatch(/^k1:[0-9a-f]{8}$/)
    expect(key(1)).not.toContain(mark.slice(3))
  })
})

describe('the public address', () => {
  const real = ['https://www.googleapis.com']
  test.each([
    'https://localhost',
    'https://127.0.0.1:8443',
    'https://[::1]',
    'https://10.1.2.3',
    'https://192.168.0.10/base',
    'https://172.20.0.1',
    'https://100.64.0.1',
    'https://169.254.1.1',
    'https://[fd00::1]',
    'https://[::ffff:10.0.0.1]',
    'https://mac.local',
    'https://ingress',
    'https://calendars.internal',
    'http://localhost:8080',
  ])('%s is reached by no vendor', (url) => {
    expect(unreachableAddress(url, real)).toMatch(/^PUBLIC_URL leads to this machine or a private network/)
    expect(unreachableAddress(url, ['http://127.0.0.1:4101'])).toBeNull()
  })

  test.each(['https://calendars.example.com', 'https://203.0.113.7', 'https://[2001:db8::1]'])(
    '%s may be (control)',
    (url) => {
      expect(unreachableAddress(url, real)).toBeNull()
    },
  )

  test('in clear is refused by vendors', () => {
    expect(unreachableAddress('http://calendars.example.com', real)).toMatch(/begins with http:\/\//)
  })

  /** Of a play vendor. */
  const PLAYED = 'http://127.0.0.1:1'
  const at = (url: string) => ({ ...GOOGLE, GOOGLE_API_URL: PLAYED, PUBLIC_URL: url })

  test('that leads to another program is told from one that leads to the ingress', async () => {
    const stranger = await serve((response) => response.writeHead(200).end('<html>welcome</html>'))
    expect(await redOf(publicAddress(at(stranger)))).toMatch(/\(200\) is not the ingress/)
    const closed = await serve((response) =>
      response
        .writeHead(403, { 'content-type': 'application/problem+json' })
        .end(JSON.stringify({ type: 'about:blank', error: 'Webhooks are off', detail: 'Later.' })),
    )
    expect(await publicAddress(at(closed))).toMatch(/^leads to the ingress/)
  })

  test('is asked as Graph asks, and the redirect addresses are printed', async () => {
    const asked: string[] = []
    const url = await serve((response, request) => {
      asked.push(`${request.method} ${request.url}`)
      response.end(new URL(request.url ?? '', 'http://x').searchParams.get('validationToken'))
    })
    expect(await publicAddress({ ...at(`${url}/`), ...MICROSOFT, MICROSOFT_API_URL: PLAYED })).toBe(
      `leads to the ingress; redirect addresses: ${url}/api/auth/google/calendar/callback ${url}/api/auth/microsoft/calendar/callback`,
    )
    expect(asked).toEqual(['POST /api/webhooks/calendar/microsoft?validationToken=calstream-doctor'])
  })

  test('that is not set for the command is said not to be looked at', async () => {
    expect(await publicAddress(GOOGLE)).toMatch(/not set here/)
  })
})

describe('an app', () => {
  const refused = (status: number, body: object) =>
    serve((response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
    )
  const entra = (number: number, error: string) =>
    refused(error === 'invalid_client' ? 401 : 400, {
      error,
      error_description: `AADSTS${number}: No.`,
      error_codes: [number],
    })

  test.each([
    [7000215, 'invalid_client', /client secret is wrong or expired .*set its value, not its id/],
    [50194, 'invalid_request', /MICROSOFT_TENANT does not fit the app/],
    [900023, 'invalid_request', /MICROSOFT_TENANT does not fit the app/],
    [700016, 'unauthorized_client', /not in the tenant of MICROSOFT_TENANT/],
  ])('that Entra refuses with %s is red', async (number, error, words) => {
    const MICROSOFT_LOGIN_URL = await entra(number, error)
    expect(await redOf(appAccepted({ ...MICROSOFT, MICROSOFT_LOGIN_URL }, 'microsoft'))).toMatch(words)
  })

  test.each([
    [401, { error: 'invalid_client', error_description: 'Unauthorized' }],
    [401, { error: 'deleted_client' }],
  ])('that Google refuses with %s %j is red', async (status, body) => {
    const GOOGLE_TOKEN_URL = await refused(status, body)
    expect(await redOf(appAccepted({ ...GOOGLE, GOOGLE_TOKEN_URL }, 'google'))).toMatch(
      /GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET/,
    )
  })

  test.each([
    [400, { error: 'invalid_grant', error_description: 'Bad Request' }],
    [503, {}],
    [403, { error: 'access_denied' }],
  ])('of which %s %j says nothing is not called wrong', async (status, body) => {
    const url = await refused(status, body)
    await appAccepted({ ...GOOGLE, GOOGLE_TOKEN_URL: url }, 'google')
    await appAccepted({ ...MICROSOFT, MICROSOFT_LOGIN_URL: url }, 'microsoft')
  })
})

describe('an address of loopback', () => {
  const PLAY = { ...GOOGLE, PUBLIC_URL: 'http://127.0.0.1:1', GOOGLE_API_URL: 'http://127.0.0.1:1' }

  test('is not looked at where the ingress is in another container', async () => {
    const found = await publicAddress({ ...PLAY, ADMIN_URL_INGRESS: 'http://ingress:9464' })
    expect(found).toMatch(/means the machine of the browser, and this is another one/)
  })

  test.each([undefined, 'http://127.0.0.1:9464'])(
    'is looked at where the ingress is on this machine: %s (control)',
    async (admin) => {
      const env = admin === undefined ? PLAY : { ...PLAY, ADMIN_URL_INGRESS: admin }
      await expect(publicAddress(env)).rejects.toThrow(/PUBLIC_URL cannot be reached from here/)
    },
  )
})

test('a service without vendors has no clock but those of its siblings', async () => {
  expect(await clocks({}, nobody)).toBe('nothing answers that tells its time')
})
