// The envelope of stored credentials: AES-256-GCM as v1.<kid>.<nonce>.<ciphertext+tag> in
// base64url. Invariant: a sealed value opens only in the row and field that it was sealed for, and
// only unaltered (both are additional data of the cipher).
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { Failure } from '#shared/domain/failure.ts'
import type { Secret } from './secret.ts'

const KEY_BYTES = 32
// NIST SP 800-38D 8.2.2: a random 96-bit nonce;
// with 2^32 values under one key the chance of a repeat is below 2^-32.
const NONCE_BYTES = 12
const TAG_BYTES = 16
const MARK_LENGTH = 8
const KID = /^[A-Za-z0-9_-]{1,16}$/
const SEALED = /^v1\.([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{22,})$/

/** Keys by id. `current` is used for new work; all of them open. */
export interface Keyring {
  readonly current: string
  key(kid: string): Buffer | undefined
}

/** Which field of which row a sealed value belongs to. */
interface SealedFor {
  readonly connectionId: string
  readonly field: string
}

/**
 * What is wrong with the text of a keyring, as a clause;
 * null when it can be used. Never repeats the text.
 */
export function keyringProblem(text: string): string | null {
  const keys = readKeys(text)
  return typeof keys === 'string' ? keys : null
}

/**
 * Reads kid:key pairs separated by commas, keys of 32 bytes as base64 or base64url. The first is
 * the current one. Throws an Error that does not repeat the text.
 */
export function parseKeyring(text: Secret): Keyring {
  const keys = readKeys(text.reveal())
  if (typeof keys === 'string') throw new Error(`The keyring cannot be used: ${keys}.`)
  const [current = ''] = keys.keys()
  return { current, key: (kid) => keys.get(kid) }
}

/** The keys by id, or what is wrong. */
function readKeys(text: string): ReadonlyMap<string, Buffer> | string {
  const keys = new Map<string, Buffer>()
  for (const [index, part] of text.split(',').entries()) {
    const colon = part.indexOf(':')
    const kid = part.slice(0, Math.max(colon, 0)).trim()
    if (!KID.test(kid))
      return `entry ${index + 1} does not begin with a key id (1 to 16 of A-Z a-z 0-9 _ -) and a colon`
    if (keys.has(kid)) return `entry ${index + 1} repeats a key id`
    const key = keyOf(part.slice(colon + 1))
    if (key === null) return `entry ${index + 1} is not ${KEY_BYTES} bytes in base64`
    keys.set(kid, key)
  }
  return keys
}

/** Seals a text with the current key for one field of one connection's credentials. */
export function sealSecret(ring: Keyring, plaintext: string, sealedFor: SealedFor): string {
  const key = ring.key(ring.current)
  if (!key)
    throw new Failure('credentials/unreadable', 'The keyring has no current key. Check CREDENTIALS_KEYS.')
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(additionalData(sealedFor, ring.current))
  const sealed = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return `v1.${ring.current}.${nonce.toString('base64url')}.${sealed.toString('base64url')}`
}

/**
 * Opens what sealSecret made. Throws Failure `credentials/unreadable`: for an unknown key, which it
 * names, and for an altered value or the wrong row, which look alike.
 */
export function openSecret(ring: Keyring, sealed: string, sealedFor: SealedFor): string {
  const [, kid = '', nonce = '', body = ''] = SEALED.exec(sealed) ?? []
  const key = ring.key(kid)
  if (!key) throw new Failure('credentials/unreadable', kid === '' ? undefined : missingKey(kid))
  const bytes = Buffer.from(body, 'base64url')
  const cut = bytes.length - TAG_BYTES
  if (cut < 0) throw new Failure('credentials/unreadable')
  const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64url'), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(additionalData(sealedFor, kid))
  decipher.setAuthTag(bytes.subarray(cut))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(0, cut)), decipher.final()]).toString('utf8')
  } catch {
    // The cause would say no more than "unable to authenticate data".
    throw new Failure('credentials/unreadable')
  }
}

/** One service has another keyring than the one that sealed: the usual cause by far. */
function missingKey(kid: string): string {
  return `The stored credentials are sealed with key "${kid}", which is not in CREDENTIALS_KEYS of this process. Give ingress, sync and scheduler the same CREDENTIALS_KEYS and restart them. If that key is lost, the person has to connect the account again.`
}

/**
 * Marks by which the keyrings of two processes can be compared: kid:mark, the current one first.
 * A mark is 32 bits of a hash of 32 random bytes, which tells nothing of them.
 */
export function keyMarks(text: Secret): readonly string[] {
  const keys = readKeys(text.reveal())
  if (typeof keys === 'string') return []
  return [...keys].map(([kid, key]) => `${kid}:${markOf(key)}`)
}

function markOf(key: Buffer): string {
  return createHash('sha256').update('calstream key mark|').update(key).digest('hex').slice(0, MARK_LENGTH)
}

/** The id of the key that sealed a value; null when it is not a sealed value. For rotation. */
export function sealedWith(sealed: string): string | null {
  return SEALED.exec(sealed)?.[1] ?? null
}

function additionalData({ connectionId, field }: SealedFor, kid: string): Buffer {
  return Buffer.from(`connection_credentials|${connectionId.toLowerCase()}|${field}|${kid}`, 'utf8')
}

function keyOf(text: string): Buffer | null {
  const trimmed = text.trim()
  // Node's decoder skips what it does not know; a typing error must not become another key.
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(trimmed)) return null
  const key = Buffer.from(trimmed, 'base64')
  return key.length === KEY_BYTES ? key : null
}
