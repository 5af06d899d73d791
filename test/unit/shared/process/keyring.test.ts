// The credential envelope: what was sealed opens only with its key, in its place, unaltered.
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { openSecret, parseKeyring, sealedWith, sealSecret } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'

const OLD = randomBytes(32).toString('base64')
const NEW = randomBytes(32).toString('base64url')
const ring = parseKeyring(new Secret(`new:${NEW}, old:${OLD}`))
const place = { connectionId: '6f9619ff-8b86-d011-b42d-00c04fc964ff', field: 'refresh_token' }

describe('sealing', () => {
  test('gives back any text, and never the same envelope twice', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), (text) => {
        // A lone surrogate is no text: UTF-8 has no bytes for it.
        fc.pre(text.isWellFormed())
        const sealed = sealSecret(ring, text, place)
        expect(openSecret(ring, sealed, place)).toBe(text)
        expect(sealSecret(ring, text, place)).not.toBe(sealed)
      }),
    )
  })

  test('has the form v1.<kid>.<nonce>.<ciphertext and tag> and names its key', () => {
    const sealed = sealSecret(ring, 'token', place)
    expect(sealed).toMatch(/^v1\.new\.[\w-]{16}\.[\w-]{28}$/)
    expect(sealedWith(sealed)).toBe('new')
    expect(sealedWith('plain text')).toBeNull()
  })

  test('opens with an older key that is still on the ring, and not once it is gone', () => {
    const before = parseKeyring(new Secret(`old:${OLD}`))
    const sealed = sealSecret(before, 'token', place)
    expect(openSecret(ring, sealed, place)).toBe('token')
    expect(() => openSecret(parseKeyring(new Secret(`new:${NEW}`)), sealed, place)).toThrow(Failure)
  })

  test('opens for the same connection in another letter case', () => {
    const sealed = sealSecret(ring, 'token', place)
    expect(openSecret(ring, sealed, { ...place, connectionId: place.connectionId.toUpperCase() })).toBe(
      'token',
    )
  })

  test.each([
    ['another connection', { ...place, connectionId: '6f9619ff-8b86-d011-b42d-00c04fc964f0' }],
    ['another field', { ...place, field: 'access_token' }],
  ])('does not open for %s', (_what, elsewhere) => {
    const sealed = sealSecret(ring, 'token', place)
    expect(() => openSecret(ring, sealed, elsewhere)).toThrow(
      expect.objectContaining({ code: 'credentials/unreadable' }),
    )
  })

  test('does not open after any single character was changed', () => {
    const sealed = sealSecret(ring, 'a refresh token', place)
    for (let index = 0; index < sealed.length; index += 1) {
      const other = sealed[index] === 'A' ? 'B' : 'A'
      const altered = sealed.slice(0, index) + other + sealed.slice(index + 1)
      // The last character of base64url may carry bits that decode to nothing.
      const same = Buffer.from(altered.split('.')[3] ?? '', 'base64url').equals(
        Buffer.from(sealed.split('.')[3] ?? '', 'base64url'),
      )
      if (same && altered.split('.').slice(0, 3).join() === sealed.split('.').slice(0, 3).join()) continue
      expect(() => openSecret(ring, altered, place), altered).toThrow(Failure)
    }
  })

  test.each(['', 'v1', 'v1.new..', 'v2.new.aaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbb', 'plain'])(
    'refuses %j without a word about why',
    (text) => {
      expect(() => openSecret(ring, text, place)).toThrow(
        expect.objectContaining({ code: 'credentials/unreadable' }),
      )
    },
  )
})

describe('a keyring', () => {
  test('uses its first key for new work', () => {
    expect(ring.current).toBe('new')
    expect(ring.key('old')?.toString('base64')).toBe(OLD)
    expect(ring.key('none')).toBeUndefined()
  })

  test.each([
    ['nothing', ''],
    ['a key without id', OLD],
    ['a short key', `k1:${OLD.slice(8)}`],
    ['a key with a typing error', `k1:*${OLD.slice(1)}`],
    ['an id of two words', `k 1:${OLD}`],
    ['the same id twice', `k1:${OLD},k1:${NEW}`],
    ['a trailing comma', `k1:${OLD},`],
  ])('refuses %s and does not repeat it', (_what, text) => {
    let message = ''
    try {
      parseKeyring(new Secret(text))
    } catch (error) {
      message = error instanceof Error ? error.message : ''
    }
    expect(message).toContain('cannot be used')
    expect(message).not.toContain(OLD.slice(8, 20))
  })
})
