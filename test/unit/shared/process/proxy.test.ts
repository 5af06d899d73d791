// The way out through a proxy, in a process of its own: vendors and the flag server are reached
// through it, this machine and what NO_PROXY names are not.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:https'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newAuthority } from '../../../../infra/stack/certificates.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
/** Names that no server of names knows: who asks for them goes through the proxy or nowhere. */
const VENDOR = 'vendor.calstream.invalid'
const FLAGS = 'flags.calstream.invalid'

let folder: string
let origin: Server
let proxy: Server
const asked: string[] = []

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-proxy-'))
  const authority = await newAuthority()
  writeFileSync(path.join(folder, 'ca.pem'), authority.ca)
  const { certificate: cert, key } = await authority.issue({ commonName: 'all', names: [VENDOR, FLAGS] })
  origin = createTlsServer({ cert, key }, (request, response) => response.end(`from ${request.headers.host}`))
  proxy = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end('from the proxy')
  })
  const tunnel = (name: string | undefined, socket: Socket): void => {
    asked.push(name ?? '')
    const way = connect((origin.address() as AddressInfo).port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(way).pipe(socket)
    })
    for (const end of [way, socket]) end.on('error', () => {})
  }
  proxy.on('connect', (request, socket) => tunnel(request.url, socket as Socket))
  for (const server of [origin, proxy]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
})
afterAll(() => {
  for (const server of [origin, proxy]) {
    server.closeAllConnections()
    server.close()
  }
  rmSync(folder, { recursive: true })
})

/** What such a process prints. */
async function run(code: string, env: Record<string, string>): Promise<string> {
  const script = path.join(folder, 'script.ts')
  const shared = path.join(ROOT, 'services/shared')
  writeFileSync(script, code.replaceAll('#shared', shared))
  const { stdout } = await promisify(execFile)(process.execPath, [script], {
    env: { PATH: process.env['PATH'], NODE_EXTRA_CA_CERTS: path.join(folder, 'ca.pem'), ...env },
    timeout: 60_000,
  })
  return stdout.trim()
}

const through = () => `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
const ASK = `
import { takeProxy } from '#shared/process/settings.ts'
import { createBoundedFetch } from '#shared/vendors/fetch.ts'
takeProxy()
const ask = (url) => createBoundedFetch({ vendor: 'google' })(url).then((answer) => answer.text(), (error) => error.code)
console.log(await ask(process.argv[2] ?? process.env.ASKED))
`

test('a vendor is reached through the proxy, and its certificate is the vendor’s', async () => {
  const ASKED = `https://${VENDOR}/x`
  expect(await run(ASK, { HTTPS_PROXY: through(), ASKED })).toBe(`from ${VENDOR}`)
  expect(asked).toContain(`${VENDOR}:443`)
  // The control: without the proxy, or where it is not wanted, no way leads there.
  expect(await run(ASK, { ASKED })).toBe('vendor/unavailable')
  expect(await run(ASK, { HTTPS_PROXY: through(), NO_PROXY: '.calstream.invalid', ASKED })).toBe(
    'vendor/unavailable',
  )
})

test('this machine is reached without it', async () => {
  const own = createServer((_request, response) => response.end('from here')).listen(0, '127.0.0.1')
  await once(own, 'listening')
  const ASKED = `http://127.0.0.1:${(own.address() as AddressInfo).port}/`
  try {
    expect(await run(ASK, { HTTP_PROXY: through(), HTTPS_PROXY: through(), ASKED })).toBe('from here')
  } finally {
    own.closeAllConnections()
    own.close()
  }
})

test('the flag server is reached through it too', async () => {
  const code = `
import { takeProxy } from '#shared/process/settings.ts'
import { openGates } from '#shared/gates/unleash.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
takeProxy()
const config = { url: 'https://${FLAGS}/api', token: new Secret('default:development.token'), caps: {}, appName: 'test' }
await openGates(config, createLogger({ service: 'test', level: 'silent' }), AbortSignal.timeout(20000))
process.exit()
`
  await run(code, { HTTPS_PROXY: through() })
  expect(asked).toContain(`${FLAGS}:443`)
})
