// The certificate authority of a secured local stack: made at the first start, kept beside the
// data, trusted by this stack alone. Certificates of servers are issued anew at every start.
// Invariant: a file with a key is readable by its owner only.
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { writeWhole } from './processes.ts'

/** A certificate with its private key, both PEM; the key is PKCS#8 without a password. */
export interface Identity {
  readonly certificate: string
  readonly key: string
}

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

const KEYS = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
/** Chosen: longer than anybody keeps a local stack. */
const AUTHORITY_MS = 3_650 * DAY_MS
/** A restart brings new ones. Apple and browsers take no server's certificate beyond 398 days. */
const LEAF_MS = 397 * DAY_MS
/** Clocks of containers and virtual machines may be behind by a little. */
const EARLIER_MS = 60_000
/** A random serial number of at most 20 bytes, positive (RFC 5280, 4.1.2.2). */
const SERIAL_BYTES = 16

/**
 * The authority of a folder, which is made when absent. Throws when its files do not fit together.
 */
export async function keptAuthority(folder: string): Promise<Authority> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const [caFile, keyFile] = [path.join(folder, 'ca.pem'), path.join(folder, 'ca.key')]
  // The certificate is written last: with it there is a key.
  if (!existsSync(caFile)) await makeAuthority(caFile, keyFile)
  const issuer = new x509.X509Certificate(readFileSync(caFile, 'utf8'))
  const signingKey = await importKey(readFileSync(keyFile, 'utf8'))
  return {
    caFile,
    issue: (name, validMs = LEAF_MS) => issue(name, { issuer, signingKey, validMs }),
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

async function makeAuthority(caFile: string, keyFile: string): Promise<void> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=calstream local stack',
    ...validFor(AUTHORITY_MS),
    signingAlgorithm: SIGNING,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  writeWhole(keyFile, await exportKey(keys.privateKey))
  writeWhole(caFile, `${certificate.toString('pem')}\n`)
}

interface Issuing {
  readonly issuer: x509.X509Certificate
  readonly signingKey: webcrypto.CryptoKey
  readonly validMs: number
}

async function issue(name: string, { issuer, signingKey, validMs }: Issuing): Promise<Identity> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${name}`,
    issuer: issuer.subject,
    ...validFor(validMs),
    signingAlgorithm: SIGNING,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      // Clients that are given an address and no name check one of these two.
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) }
}

/** One that is over already began a day before its end. */
function validFor(ms: number): { readonly notBefore: Date; readonly notAfter: Date } {
  const now = Date.now()
  const notBefore = ms > 0 ? now - EARLIER_MS : now + ms - DAY_MS
  return { notBefore: new Date(notBefore), notAfter: new Date(now + ms) }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEYS, true, ['sign', 'verify'])
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), KEYS, false, ['sign'])
}

function serialNumber(): string {
  // A first bit of 1 would make it negative.
  return `01${randomBytes(SERIAL_BYTES).toString('hex')}`
}
