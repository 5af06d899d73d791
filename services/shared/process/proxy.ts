// The way out through a proxy. HTTPS_PROXY, HTTP_PROXY and NO_PROXY mean what they mean everywhere;
// Node ignores them unless it is told, so each process of ours tells it when it begins.
import http from 'node:http'

/** This machine: simulator, operators' ports, a proxy beside us. */
const NEVER = ['localhost', '127.0.0.1', '::1']

/**
 * From now on `fetch` and requests of Node go through the proxy that the environment names, except
 * to this machine. The flag client reads the same variables itself. Does nothing without a proxy.
 * Throws for an address of a proxy that is none.
 * https://nodejs.org/api/http.html#httpsetglobalproxyfromenvproxyenv
 */
export function useProxy(env: NodeJS.ProcessEnv): void {
  const of = (name: string) => env[name.toLowerCase()] || env[name] || undefined
  const [https, plain] = [of('HTTPS_PROXY'), of('HTTP_PROXY')]
  if (https === undefined && plain === undefined) return
  const never = [...(of('NO_PROXY') ?? '').split(','), ...NEVER].filter((name) => name !== '').join(',')
  env['NO_PROXY'] = env['no_proxy'] = never
  http.setGlobalProxyFromEnv({
    ...(https === undefined ? {} : { https_proxy: https }),
    ...(plain === undefined ? {} : { http_proxy: plain }),
    no_proxy: never,
  })
}
