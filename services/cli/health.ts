// `calstream health`: whether the service in this container is ready, for the health checks of
// container engines. health-main.ts is the same as a program of its own. It is asked every few
// seconds of every container, so this file loads nothing but Node's client of HTTP.
import { get } from 'node:http'

/** Longer than a /readyz may take (2 s and the way). */
const ANSWER_MAX_MS = 4_000
const BODY_CHARACTERS_MAX = 10_000
const ALL = ['INGRESS', 'SYNC', 'RETRY', 'RELAY', 'SCHEDULER']

/**
 * Asks /readyz of the port that ADMIN_HOST and ADMIN_PORT name; of `calstream all` every port that
 * an ADMIN_PORT_<SERVICE> names.
 * @returns null when all are ready, otherwise what is not, in one line. Never rejects.
 */
export async function healthOf(env: NodeJS.ProcessEnv): Promise<string | null> {
  const own = ALL.map((name) => env[`ADMIN_PORT_${name}`]).filter((port) => port !== undefined && port !== '')
  const ports = own.length > 0 ? own : [env['ADMIN_PORT']]
  const problems = await Promise.all(ports.map((port) => problemAt(env['ADMIN_HOST'], port)))
  const found = problems.filter((problem) => problem !== null)
  return found.length === 0 ? null : found.join('; ')
}

async function problemAt(host: string | undefined, port: string | undefined): Promise<string | null> {
  if (port === undefined || !/^[1-9]\d{0,4}$/.test(port))
    return 'ADMIN_PORT is not set to the number of a port, so no one can ask how the service is'
  return new Promise((resolve) => {
    const request = get(
      { host: reachable(host), port, path: '/readyz', timeout: ANSWER_MAX_MS, agent: false },
      (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          if (body.length < BODY_CHARACTERS_MAX) body += part
        })
        response.on('end', () => resolve(response.statusCode === 200 ? null : `not ready: ${body.trim()}`))
        response.on('error', () => resolve('it broke its answer off'))
      },
    )
    request.on('timeout', () => request.destroy(new Error(`no answer within ${ANSWER_MAX_MS / 1000} s`)))
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}

/** What listens on every interface is reached on loopback. */
function reachable(host = '127.0.0.1'): string {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1'
  return host === '::' ? '::1' : host
}

/** Prints what is not ready. @returns the exit code: 0 when the service is ready, otherwise 1. */
export async function health(env: NodeJS.ProcessEnv): Promise<0 | 1> {
  const problem = await healthOf(env)
  if (problem !== null) process.stderr.write(`${problem}\n`)
  return problem === null ? 0 : 1
}
