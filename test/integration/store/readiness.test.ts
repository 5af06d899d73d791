// A process says that it is not ready on tables that it does not work with, and what to do.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../../services/relay/config.ts'
import { startRelay } from '../../../services/relay/service.ts'
import { knownFiles } from '#shared/store/table-set.ts'
import { roleName } from '../../support/stack.ts'
import { openRelayWorld, type RelayWorld } from '../../support/relay-world.ts'

const NEWEST = knownFiles().at(-1)!
const ROLE = roleName('calstream_relay')
const NEVER = new AbortController().signal

interface Readiness {
  readonly status: number
  readonly tables: string | undefined
}

async function readyz(port: number): Promise<Readiness> {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
  const { dependencies } = (await answer.json()) as { dependencies: Record<string, string> }
  return { status: answer.status, tables: dependencies['tables'] }
}

let world: RelayWorld
let relay: Awaited<ReturnType<typeof startRelay>>
beforeAll(async () => {
  world = await openRelayWorld('readiness')
  relay = await startRelay(loadConfig({ ...world.env, ADMIN_PORT: '0', LOG_LEVEL: 'silent' }), NEVER)
})
afterAll(async () => {
  await relay?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

describe('a process', () => {
  test.each([
    ['as they must be (control)', 'select 1', 200, /^ok$/],
    [
      'newer and compatible',
      `insert into calstream_migrations (name, run_on, compatible_with) values ('000999_x', now(), ${Number.parseInt(NEWEST, 10)})`,
      200,
      /^ok$/,
    ],
    [
      'newer and not compatible',
      `insert into calstream_migrations (name, run_on, compatible_with) values ('000999_x', now(), 999)`,
      503,
      /has 000999_x, .* Use the newer version\.$/,
    ],
    [
      'older',
      `delete from calstream_migrations where name = '${NEWEST}'`,
      503,
      new RegExp(`lacks ${NEWEST}\\. Run calstream migrate\\.$`),
    ],
    [
      'of a time when it could not look',
      `revoke select on calstream_migrations from ${ROLE}`,
      503,
      /lacks 000001_init/,
    ],
  ])('on tables that are %s', async (_what, spoil, status, says) => {
    await world.db.query('begin')
    try {
      await world.db.query('create table kept as table calstream_migrations')
      await world.db.query(spoil)
      await world.db.query('commit')
      expect(await readyz(relay.adminPort)).toEqual({ status, tables: expect.stringMatching(says) as string })
    } finally {
      await world.db
        .query(`begin; truncate calstream_migrations; insert into calstream_migrations select * from kept;
        drop table kept; grant select on calstream_migrations to ${ROLE}; commit`)
    }
    expect(await readyz(relay.adminPort)).toEqual({ status: 200, tables: 'ok' })
  })
})
