// Access tokens: one refresh however many ask, rotated tokens kept, rejected ones replaced once.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId, type ConnectionId } from '#shared/domain/ids.ts'
import { openSecret, parseKeyring, sealSecret } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import type { AccessUpdate, StoredCredentials } from '#shared/domain/credentials.ts'
import { openTokens } from '#shared/vendors/tokens.ts'
import { createMailboxes } from '#shared/vendors/mailbox.ts'
import type { Grant, Vendor } from '#shared/vendors/vendor.ts'
import { NO_LIMITS } from '../../../support/free-mailboxes.ts'

const ID = connectionId('00000000-0000-4000-8000-000000000001')
const KEYRING = parseKeyring(new Secret(`k1:${Buffer.alloc(32, 7).toString('base64')}`))
const NOW = 1_800_000_000_000_000
const signal = new AbortController().signal

function seal(text: string, field: string): string {
  return sealSecret(KEYRING, text, { connectionId: ID, field })
}

/**
 * One row of credentials with the rule of the real store:
 * an update applies to the version that was read.
 */
function setup(
  options: {
    refresh?: (refreshToken: string) => Promise<Partial<Grant>>
    access?: string | null
    loads?: () => Promise<void>
  } = {},
) {
  const access = options.access === undefined ? null : options.access
  let row: StoredCredentials | null = {
    version: 1,
    refreshToken: seal('refresh-1', 'refresh_token'),
    accessToken: access === null ? null : seal(access, 'access_token'),
    accessExpiresAt: access === null ? null : NOW + 3_600_000_000,
  }
  const log: string[] = []
  let now = NOW
  const tokens = openTokens({
    keyring: KEYRING,
    clock: { now: () => now },
    load: async (_id: ConnectionId) => {
      await options.loads?.()
      return row
    },
    save: async (update: AccessUpdate) => {
      log.push('save')
      if (row === null || row.version !== update.version) return 'superseded'
      row = {
        version: row.version + 1,
        refreshToken: update.refreshToken ?? row.refreshToken,
        accessToken: update.accessToken,
        accessExpiresAt: update.accessExpiresAt,
      }
      return 'saved'
    },
    async refresh(refreshToken) {
      log.push(`refresh ${refreshToken}`)
      const count = log.filter((line) => line.startsWith('refresh')).length
      const grant = (await options.refresh?.(refreshToken)) ?? {}
      return {
        accessToken: `access-${count}`,
        accessExpiresAt: now + 3_600_000_000,
        refreshToken: null,
        scope: null,
        ...grant,
      }
    },
  })
  /** Asks the mailbox for the calendars, whose names are what `list` makes of the token. */
  const called = async (list: (token: string) => Promise<string>) => {
    const vendor = {
      name: 'google',
      listCalendars: async (token: string) => [{ name: await list(token) }],
    } as unknown as Vendor
    const mailboxes = createMailboxes([{ vendor, tokens, guard: NO_LIMITS }])
    const listed = await mailboxes.of({ vendor: 'google', connectionId: ID }).listCalendars(signal)
    return listed[0]?.name
  }
  return {
    tokens,
    called,
    log,
    row: () => row,
    setRow: (next: StoredCredentials | null) => (row = next),
    pass: (micros: number) => (now += micros),
  }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing failed',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  )
}

describe('a token', () => {
  test('that is good for more than a minute is handed out as it is stored', async () => {
    const { tokens, log, pass } = setup({ access: 'stored' })
    expect(await tokens.of(ID, signal)).toBe('stored')
    expect(log).toEqual([])
    pass(3_540_000_000 + 1)
    expect(await tokens.of(ID, signal)).toBe('access-1')
    expect(log).toEqual(['refresh refresh-1', 'save'])
  })

  test('is refreshed once, however many ask at a time', async () => {
    const { tokens, log } = setup()
    const given = await Promise.all(Array.from({ length: 50 }, () => tokens.of(ID, signal)))
    expect(new Set(given)).toEqual(new Set(['access-1']))
    expect(log).toEqual(['refresh refresh-1', 'save'])
  })

  test('is stored before it is used, together with a rotated refresh token', async () => {
    const { tokens, row, pass, log } = setup({
      refresh: async (used) => ({ refreshToken: used === 'refresh-1' ? 'refresh-2' : null }),
    })
    await tokens.of(ID, signal)
    const stored = row()!
    expect(openSecret(KEYRING, stored.refreshToken, { connectionId: ID, field: 'refresh_token' })).toBe(
      'refresh-2',
    )
    expect(openSecret(KEYRING, stored.accessToken!, { connectionId: ID, field: 'access_token' })).toBe(
      'access-1',
    )
    pass(3_600_000_000)
    await tokens.of(ID, signal)
    expect(log).toEqual(['refresh refresh-1', 'save', 'refresh refresh-2', 'save'])
  })

  test('that another process refreshed meanwhile is read instead of overwritten', async () => {
    const world = setup({
      refresh: async () => {
        world.setRow({
          version: 2,
          refreshToken: seal('refresh-other', 'refresh_token'),
          accessToken: seal('access-other', 'access_token'),
          accessExpiresAt: NOW + 3_600_000_000,
        })
        return {}
      },
    })
    expect(await world.tokens.of(ID, signal)).toBe('access-other')
    expect(openSecret(KEYRING, world.row()!.refreshToken, { connectionId: ID, field: 'refresh_token' })).toBe(
      'refresh-other',
    )
  })

  test('of a connection without credentials needs the person', async () => {
    const { tokens, setRow } = setup()
    setRow(null)
    expect(await codeOf(tokens.of(ID, signal))).toBe('vendor/grant-revoked')
  })

  test('is asked for anew after a failed refresh', async () => {
    let fails = true
    const { tokens } = setup({
      refresh: async () => {
        if (fails) throw new Failure('vendor/grant-revoked')
        return {}
      },
    })
    expect(await codeOf(tokens.of(ID, signal))).toBe('vendor/grant-revoked')
    fails = false
    expect(await tokens.of(ID, signal)).toBe('access-2')
  })

  test('that one caller gave up on still arrives for the others', async () => {
    const gate = Promise.withResolvers<Partial<Grant>>()
    const { tokens, log } = setup({ refresh: () => gate.promise })
    const impatient = new AbortController()
    const first = tokens.of(ID, impatient.signal)
    const second = tokens.of(ID, signal)
    impatient.abort(new Error('stopped'))
    await expect(first).rejects.toThrow('stopped')
    gate.resolve({})
    expect(await second).toBe('access-1')
    expect(log).toEqual(['refresh refresh-1', 'save'])
  })
})

describe('a call with a token', () => {
  test('is repeated once with a fresh token when the vendor rejects the stored one', async () => {
    const { called, log } = setup({ access: 'stale' })
    const used: string[] = []
    const result = await called(async (token) => {
      used.push(token)
      if (token === 'stale') throw new Failure('vendor/token-rejected')
      return 'page'
    })
    expect([result, used]).toEqual(['page', ['stale', 'access-1']])
    expect(log).toEqual(['refresh refresh-1', 'save'])
  })

  test('that is rejected twice is a matter for the person, not for a third try', async () => {
    const { called, log } = setup({ access: 'stale' })
    const rejected = called(() => Promise.reject(new Failure('vendor/token-rejected')))
    expect(await codeOf(rejected)).toBe('vendor/call-refused')
    expect(log.filter((line) => line.startsWith('refresh'))).toHaveLength(1)
  })

  test('that fails otherwise is not repeated', async () => {
    const { called, log } = setup({ access: 'stored' })
    let calls = 0
    const failing = called(() => {
      calls += 1
      return Promise.reject(new Failure('vendor/throttled'))
    })
    expect(await codeOf(failing)).toBe('vendor/throttled')
    expect([calls, log]).toEqual([1, []])
  })

  test('beside others that are rejected at the same time shares their one refresh, and none is given up', async () => {
    const { called, log } = setup({ access: 'stale' })
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        called(async (token) => {
          for (let turn = 0; turn < index; turn += 1) await Promise.resolve()
          if (token === 'stale') throw new Failure('vendor/token-rejected')
          return token
        }),
      ),
    )
    expect(new Set(results)).toEqual(new Set(['access-1']))
    expect(log.filter((line) => line.startsWith('refresh'))).toHaveLength(1)
  })

  test('is not served by a look-up that began before the rejection and brings the rejected token again', async () => {
    const gate = Promise.withResolvers<void>()
    const { tokens, log } = setup({ access: 'stale', loads: () => gate.promise })
    const early = tokens.of(ID, signal)
    tokens.invalidate(ID, 'stale')
    const late = tokens.of(ID, signal)
    gate.resolve()
    expect(await Promise.all([early, late])).toEqual(['access-1', 'access-1'])
    expect(log.filter((line) => line.startsWith('refresh'))).toHaveLength(1)
  })
})
