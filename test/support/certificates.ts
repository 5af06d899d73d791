// Certificates for tests: an authority that lives as long as a file, and what it signs.
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

export interface Identity {
  /** PEM. */
  readonly certificate: string
  /** PEM, PKCS#8 without a password. */
  readonly key: string
}

export interface TestAuthority {
  /** PEM of its own certificate. */
  readonly ca: string
  /** Good for servers and clients; `names` are hosts or addresses. Over already when asked. */
  issue(options: {
    readonly commonName: string
    readonly names?: readonly string[]
    readonly isOver?: boolean
  }): Promise<Identity>
}

const KEYS = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000

export async function openAuthority(name = 'a test'): Promise<TestAuthority> {
  const keys = await newKeys()
  const own = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${name}`,
    ...validity(false),
    signingAlgorithm: SIGNING,
    keys,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  return {
    ca: own.toString('pem'),
    async issue({ commonName, names = [], isOver = false }) {
      const pair = await newKeys()
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: `CN=${commonName}`,
        issuer: own.subject,
        ...validity(isOver),
        signingAlgorithm: SIGNING,
        publicKey: pair.publicKey,
        signingKey: keys.privateKey,
        extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names.map(nameOf))],
      })
      const key = await webcrypto.subtle.exportKey('pkcs8', pair.privateKey)
      return { certificate: certificate.toString('pem'), key: x509.PemConverter.encode(key, 'PRIVATE KEY') }
    },
  }
}

function nameOf(value: string): { type: 'ip' | 'dns'; value: string } {
  return { type: /^[\d.]+$/.test(value) ? 'ip' : 'dns', value }
}

function validity(isOver: boolean): { notBefore: Date; notAfter: Date } {
  const now = Date.now()
  return { notBefore: new Date(now - 2 * DAY_MS), notAfter: new Date(now + (isOver ? -DAY_MS : DAY_MS)) }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEYS, true, ['sign', 'verify'])
}

/** A first bit of 1 would make it negative. */
function serialNumber(): string {
  return `01${randomBytes(15).toString('hex')}`
}
