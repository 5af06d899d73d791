// The certificate authority of a secured local stack: made at the first start, kept beside the
// data, trusted by this stack alone. Certificates of servers are issued anew at every start.
// Invariant: a file with a key is readable by its owner only.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { authorityOf, type Identity, makeAuthority } from './certificates.ts'
import { writeWhole } from './processes.ts'

export interface Authority {
  /** PEM of the authority's own certificate, for those who have to trust it. */
  readonly caFile: string
  /**
   * A certificate for a server on this machine, good for client authentication too.
   * @param name its common name, and so what a broker calls the peer
   * @param validMs how long it is valid from now; one that is over already when negative
   */
  issue(name: string, validMs?: number): Promise<Identity>
}

/** Clients that are given an address and no name check one of these two. */
const THIS_MACHINE = ['localhost', '127.0.0.1']

/**
 * The authority of a folder, which is made when absent. Throws when its files do not fit together.
 */
export async function keptAuthority(folder: string): Promise<Authority> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const [caFile, keyFile] = [path.join(folder, 'ca.pem'), path.join(folder, 'ca.key')]
  // The certificate is written last: with it there is a key.
  if (!existsSync(caFile)) {
    const made = await makeAuthority('calstream local stack')
    writeWhole(keyFile, made.key)
    writeWhole(caFile, `${made.certificate}\n`)
  }
  const authority = await authorityOf({
    certificate: readFileSync(caFile, 'utf8'),
    key: readFileSync(keyFile, 'utf8'),
  })
  return {
    caFile,
    issue: (commonName, validMs) =>
      authority.issue({
        commonName,
        names: THIS_MACHINE,
        ...(validMs === undefined ? {} : { validMs }),
      }),
  }
}

/**
 * Writes an identity as Kafka reads it (`ssl.keystore.type=PEM`): key first, then the certificate.
 * The file is replaced as a whole. https://cwiki.apache.org/confluence/display/KAFKA/KIP-651
 */
export function writeKeystore(file: string, { key, certificate }: Identity): void {
  writeWhole(file, `${key}\n${certificate}\n`)
}

/**
 * Makes this process trust an authority beside those that Node brings: for requests that come
 * after. Only for tools of this machine.
 */
export function trustAuthority(caFile: string): void {
  const ca = readFileSync(caFile, 'utf8')
  const trusted = getCACertificates('default')
  if (!trusted.includes(ca)) setDefaultCACertificates([...trusted, ca])
}
