// A database server that takes TLS and nothing else: its certificate, who may come, and what
// clients check. A client in clear is refused before it can say its password.
import { chownSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Authority } from './authority.ts'
import type { PostgresHome } from './postgres-home.ts'
import { writeWhole } from './processes.ts'

/** Of records the first that fits decides; who comes in clear fits none. */
const WHO_MAY_COME = `# TYPE   DATABASE USER ADDRESS      METHOD
hostssl all      all  127.0.0.1/32 scram-sha-256
`

/**
 * Writes a new certificate and the rules beside the data, and returns the arguments under which the
 * server uses them. A server that runs takes them when it is told to reload.
 */
export async function writeTlsFiles(home: PostgresHome, authority: Authority): Promise<readonly string[]> {
  const file = (name: string): string => path.join(path.dirname(home.data), name)
  const { certificate, key } = await authority.issue('postgres')
  // Postgres refuses a key that others may read or that is somebody else's.
  writeWhole(file('server.key'), key)
  writeWhole(file('server.crt'), certificate)
  writeFileSync(file('hba.conf'), WHO_MAY_COME)
  if (home.user)
    for (const name of ['server.key', 'server.crt', 'hba.conf'])
      chownSync(file(name), home.user.uid, home.user.gid)
  const settings = {
    ssl: 'on',
    ssl_cert_file: file('server.crt'),
    ssl_key_file: file('server.key'),
    ssl_min_protocol_version: 'TLSv1.2',
    hba_file: file('hba.conf'),
  }
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/**
 * The part of a URL by which a client checks the server's certificate and its name.
 * https://www.postgresql.org/docs/current/libpq-ssl.html
 */
export function checkedBy(caFile: string): string {
  return `?${new URLSearchParams({ sslmode: 'verify-full', sslrootcert: caFile }).toString()}`
}
