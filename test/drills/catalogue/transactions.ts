// Two transactions that overlap, in the order that hurts. One writes its messages early and commits
// late. One commits while a claim waits for the same row.
import { connectionId, shardOf } from '#shared/domain/ids.ts'
import { isListing } from '../checkers/history.ts'
import { numberOf } from '../checkers/transactions.ts'
import { allOf, criterion, met } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import { holdLock } from '../faults/postgres.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'

/** Below the lock_timeout of 1 s, so that who waits goes on and commits. */
const HELD_MS = 500
const ROUNDS = 3

const overlapping: Drill = {
  id: 'OVERLAP',
  title: 'Transactions overlap: one commits after a later one was published, one while a claim waits for it',
  report: 'infrastructure',
  criteria: {
    'OVERLAP.1': criterion`A message whose transaction commits late is published all the same`,
    'OVERLAP.2': criterion`A unit reads what was committed before its claim got the row, not what it saw while it waited`,
  },
  faults: ['D8'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 12, eventsPerCalendar: 5, latencyMs: 5 }),
  invariants: ['I10', 'I15', 'I16'],
  wallMs: 200_000,
  recoverWithinMs: 60_000,
  async run(d) {
    const [late, early] = await pairOfOneShard(d)
    const ends: number[] = []
    for (let round = 0; round < ROUNDS; round += 1) ends.push(await commitLate(d, late, early))
    await d.converged(60_000)
    const resetAt = await resetBeforeClaim(d, early)
    const recovered = await d.converged(60_000)
    return ({ ledgers, holds }) => {
      const whole = fullReads(ledgers, early, resetAt)
      return {
        criteria: {
          'OVERLAP.1': holds('I1', 'I4', 'I5'),
          'OVERLAP.2': allOf(
            met(whole > 0, `${whole} full reads after a waiting claim's cursor was taken away`),
            holds('I1', 'I3'),
          ),
        },
        witnesses: [
          {
            name: 'messages published before one of a smaller id was committed',
            need: 1,
            got: overtakers(ledgers, late, ends),
          },
        ],
        numbers: { rounds: ROUNDS, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

/** Two connections whose messages leave through the same shard. */
async function pairOfOneShard(d: DrillRun): Promise<readonly [ConnectedAccount, ConnectedAccount]> {
  for (;;) {
    const shards = Map.groupBy(d.system.accounts, (account) => shardOf(connectionId(account.connectionId)))
    const [first, second] = [...shards.values()].find((accounts) => accounts.length > 1) ?? []
    if (first && second) return [first, second]
    // With more connections than shards there has to be one.
    await d.system.connect(5, { eventsPerCalendar: 5 })
    await d.converged(60_000)
  }
}

/**
 * Holds a transaction of `late` between its messages and its commit, while `early` continues.
 * @returns when it was let go.
 */
async function commitLate(d: DrillRun, late: ConnectedAccount, early: ConnectedAccount): Promise<number> {
  const load = d.load(30, 3_000, [late.accountId, early.accountId])
  const held = await holdLock(d, {
    fault: 'D8',
    target: 'calendars of one connection',
    statement: `select id from external_calendars where connection_id = '${late.connectionId}' for update`,
  })
  await d.lasting(HELD_MS)
  const end = Date.now()
  await held.heal()
  await load
  return end
}

/**
 * A writer removes the cursor and commits while a claim waits for the connection's row.
 * @returns when it had committed.
 */
async function resetBeforeClaim(
  d: DrillRun,
  { connectionId: id, accountId }: ConnectedAccount,
): Promise<number> {
  const lock = `select id from external_calendar_connections where id = '${id}' for update`
  const reset = `update external_calendars set cursor = null where connection_id = '${id}'`
  const load = d.load(10, 3_000, [accountId])
  const held = await holdLock(d, {
    fault: 'D8',
    target: 'one connection',
    statement: `${lock}; ${reset}`,
    end: 'commit',
  })
  await held.heal()
  const at = Date.now()
  await load
  return at
}

function overtakers({ audit }: Ledgers, late: ConnectedAccount, ends: readonly number[]): number {
  const rows = audit.filter(({ table }) => table === 'outbox')
  const gone = rows.filter(({ op }) => op === 'DELETE')
  const goneAt = new Map(gone.map((row) => [numberOf(row.old, 'id'), row.at]))
  const written = rows.filter(({ op, connectionId: id }) => op === 'INSERT' && id === late.connectionId)
  const found = new Set<number>()
  for (const end of ends)
    for (const { at, new: message } of written) {
      const [id, shard] = [numberOf(message, 'id'), numberOf(message, 'shard')]
      if (at > end || (goneAt.get(id) ?? Infinity) < end) continue
      for (const row of gone)
        if (
          row.at > at &&
          row.at < end &&
          numberOf(row.old, 'shard') === shard &&
          numberOf(row.old, 'id') > id
        )
          found.add(numberOf(row.old, 'id'))
    }
  return found.size
}

/** Listings of an account that began without a cursor. */
function fullReads({ calls }: Ledgers, { accountId }: ConnectedAccount, from: number): number {
  return calls.filter(
    (call) =>
      isListing(call) &&
      call.accountId === accountId &&
      call.start >= from &&
      call.status === 200 &&
      call.syncTokenIn === undefined &&
      call.pageTokenIn === undefined,
  ).length
}

export const TRANSACTIONS: readonly Drill[] = [overlapping]
