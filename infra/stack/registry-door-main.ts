// The process of the registry's door: TLS, HTTP basic authentication (RFC 7617), and what is behind
// it passed on. Started by registry-door.ts with all its settings.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import basicAuth from '@fastify/basic-auth'
import httpProxy from '@fastify/http-proxy'
import fastify from 'fastify'

const setting = (name: string): string => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set`)
  return value
}
const [user, passwordFile] = [setting('DOOR_USER'), setting('DOOR_PASSWORD_FILE')]

const identity = () => ({
  cert: readFileSync(setting('DOOR_CERTIFICATE_FILE')),
  key: readFileSync(setting('DOOR_KEY_FILE')),
  minVersion: 'TLSv1.2' as const,
})

const server = fastify({ https: identity() })
await server.register(basicAuth, {
  authenticate: { realm: 'schema registry' },
  async validate(username, password) {
    // Read at each request: a password that was changed counts at once.
    const wanted = readFileSync(passwordFile, 'utf8').trimEnd()
    const isRight = isSame(username, user) && isSame(password, wanted)
    if (!isRight) throw Object.assign(new Error('wrong login'), { statusCode: 401 })
  },
})
server.addHook('onRequest', server.basicAuth)
await server.register(httpProxy, {
  upstream: setting('DOOR_UPSTREAM'),
  replyOptions: {
    // The login is for the door alone.
    rewriteRequestHeaders: (_request, { authorization: _login, ...headers }) => headers,
  },
})
await server.listen({ host: '127.0.0.1', port: Number(setting('DOOR_PORT')) })
process.on('SIGHUP', () => server.server.setSecureContext(identity()))
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))

/** In a time that tells nothing about either text. */
function isSame(one: string, other: string): boolean {
  const [left, right] = [one, other].map((text) => createHash('sha256').update(text).digest())
  return left !== undefined && right !== undefined && timingSafeEqual(left, right)
}
