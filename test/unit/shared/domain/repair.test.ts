// To whom a repair is done: a filter that narrows nothing is refused,
// and so is what cannot be meant.
import { describe, expect, test } from 'vitest'
import {
  DEFAULT_RATES,
  filterProblem,
  RATE_MAX,
  REPAIR_KINDS,
  type RepairFilter,
} from '#shared/domain/repair.ts'

const ID = '0b6f7a86-5a53-4a7e-9f3f-7f0a2f6f3c11'

describe('a filter', () => {
  test.each(REPAIR_KINDS)('that narrows nothing is refused for %s, and all is said', (kind) => {
    expect(filterProblem(kind, {})).toMatch(/^Say which/)
    expect(filterProblem(kind, { all: true })).toBeNull()
  })

  test('with `anyway` alone narrows nothing', () => {
    expect(filterProblem('replay_dead_letters', { anyway: true })).toMatch(/^Say which/)
    expect(filterProblem('replay_dead_letters', { anyway: true, vendor: 'google' })).toBeNull()
  })

  test.each<[RepairFilter, RegExp]>([
    [{ all: true, vendor: 'google' }, /leave one of the two out/],
    [{ vendor: 'apple' }, /google or microsoft, not "apple"/],
    [{ connection: 'mine' }, /by its uuid, not "mine"/],
    [{ provider: 'mine' }, /by its uuid, not "mine"/],
    [{ state: 'sad' }, /The state is one of .*retrying/],
    [{ state: 'paused' }, /what gates decide/],
    [{ state: 'unknown' }, /what gates decide/],
    [{ cause: 'bad_luck' }, /There is no cause "bad_luck"/],
    [{ cause: 'connection_not_allowed' }, /what gates decide/],
    [{ cause: 'gates_unknown' }, /what gates decide/],
    [{ code: 'message/unreadable' }, /of dead letters alone/],
    [{ vendor: 'google', anyway: true }, /of dead letters alone/],
  ])('%j is refused, and it is said why', (filter, says) => {
    expect(filterProblem('sync_now', filter)).toMatch(says)
  })

  test.each<RepairFilter>([
    { connection: ID },
    { provider: ID, vendor: 'microsoft', state: 'retrying', since: 1 },
    { since: 0 },
    { cause: 'held_mass_delete' },
  ])('%j is taken (control)', (filter) => {
    expect(filterProblem('sync_now', filter)).toBeNull()
  })

  test('of dead letters has codes, and no state', () => {
    expect(filterProblem('replay_dead_letters', { code: 'sync/gave-up' })).toBeNull()
    expect(filterProblem('replay_dead_letters', { vendor: 'google', state: 'late' })).toMatch(
      /no state and no cause/,
    )
  })
})

test('what rings is gentle unless somebody says otherwise, and no rate is beyond the greatest', () => {
  expect(DEFAULT_RATES.full_read).toBeLessThan(DEFAULT_RATES.sync_now)
  for (const kind of REPAIR_KINDS) expect(DEFAULT_RATES[kind]).toBeLessThanOrEqual(RATE_MAX)
})
