// Certificates of an authority of our own: of a secured local stack, and of tests.
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

/** A certificate with its private key, both PEM; the key is PKCS#8 without a password. */
export interface Identity {
  readonly certificate: string
  readonly key: string
}

export interface Wanted {
  /** What a broker calls the peer. */
  readonly commonName: string
  /** Hosts and addresses that clients may reach it by; none makes one for a client. */
  readonly names?: readonly string[]
  /** How long it is valid from now; one that is over already when negative. */
  readonly validMs?: number
}

export interface CertificateAuthority {
  /** PEM of its own certificate, for those who have to trust it. */
  readonly ca: string
  /** A certificate for a server or a client. */
  issue(wanted: Wanted): Promise<Identity>
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

/** Makes an authority's own certificate and key. @param name its common name */
export async function makeAuthority(name: string): Promise<Identity> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${name}`,
    ...validFor(AUTHORITY_MS),
    signingAlgorithm: SIGNING,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) }
}

/** An authority that nobody keeps: for tests. */
export async function newAuthority(name = 'a test'): Promise<CertificateAuthority> {
  return authorityOf(await makeAuthority(name))
}

/** The authority with this certificate and key. Throws when they cannot be read. */
export async function authorityOf({ certificate, key }: Identity): Promise<CertificateAuthority> {
  const issuer = new x509.X509Certificate(certificate)
  const signingKey = await importKey(key)
  return { ca: certificate, issue: (wanted) => issue(wanted, issuer, signingKey) }
}

async function issue(
  { commonName, names = [], validMs = LEAF_MS }: Wanted,
  issuer: x509.X509Certificate,
  signingKey: webcrypto.CryptoKey,
): Promise<Identity> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${commonName}`,
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
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names.map(nameOf))]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) }
}

function nameOf(value: string): { readonly type: 'ip' | 'dns'; readonly value: string } {
  return { type: isIP(value) > 0 ? 'ip' : 'dns', value }
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
