// Whether a world has come to rest in the right state: the tables and both folded topics equal the
// vendor's truth, nothing waits, and the stream shows no loss, no disorder and no altered repeat.
import { expect } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openStoredEvents } from '../../infra/oracle/rows.ts'
import { openStreamReader } from '../../infra/oracle/stream-reader.ts'
import { readTruth } from '../../infra/oracle/truth.ts'
import { compareHoldings, foldChanges, foldState, type Difference } from '../../infra/oracle/verify.ts'
import { eventually } from './eventually.ts'
import { testStack } from './stack.ts'
import type { Account, World } from './world.ts'

const LIMIT_MS = 90_000
const SHOWN = 10

/** What differs at `now` (ms epoch, the wall clock unless given); empty when all is well. */
export async function converged(
  world: World,
  accounts: readonly Account[],
  now?: number,
): Promise<readonly Difference[]> {
  await using stored = await openStoredEvents(world.env['POSTGRES_URL'] ?? '')
  const connections = (await stored.connections()).filter(({ connectionId }) =>
    accounts.some((account) => account.connectionId === connectionId),
  )
  const waiting = await stored.outboxSize()
  const truth = await readTruth(world.simulator.adminUrl, connections, now)
  const rows = compareHoldings(
    'Postgres',
    truth.holdings,
    await stored.events(connections.map(({ connectionId }) => connectionId)),
    truth.mayDiffer,
  )
  const unsettled = connections
    .filter(({ syncNeeded }) => syncNeeded)
    .map(({ connectionId }) => note(`${connectionId} still needs a sync`))
  if (waiting > 0) unsettled.push(note(`${waiting} rows wait for the relay`))
  return [...unsettled, ...rows]
}

/**
 * Waits until the tables are right, then reads the topics from their start and judges them. Throws
 * with the first differences.
 */
export async function expectConverged(
  world: World,
  accounts: readonly Account[],
  now?: () => number,
): Promise<void> {
  let last: readonly Difference[] = []
  await eventually(
    'the tables to equal the truth',
    async () => {
      last = await converged(world, accounts, now?.())
      return last.length === 0
    },
    LIMIT_MS,
  ).catch((error: unknown) => {
    throw new Error(
      `not converged, ${last.length} differences: ${last
        .slice(0, SHOWN)
        .map(({ place, kind, key, story }) => `${place} ${kind} ${key}: ${story}`)
        .join('\n')}`,
      { cause: error },
    )
  })
  const names = [TOPICS.eventChanged, TOPICS.eventState].map((topic) => world.prefix + topic)
  await using reader = await openStreamReader({
    brokers: (world.env['KAFKA_BROKERS'] ?? '').split(','),
    registryUrl: testStack().registryUrl,
    topics: names,
  })
  await using stored = await openStoredEvents(world.env['POSTGRES_URL'] ?? '')
  const rows = await stored.events(accounts.map(({ connectionId }) => connectionId))
  const ids = new Set<string>(accounts.map(({ connectionId }) => connectionId))
  const ownOf = <T>(holdings: ReadonlyMap<string, T>) =>
    new Map([...holdings].filter(([key]) => ids.has(key.slice(0, key.indexOf('/')))))
  let differences: readonly Difference[] = []
  await eventually(
    'the folded topics to equal the tables',
    () => {
      const changes = foldChanges(reader.records(names[0]!))
      const state = foldState(reader.records(names[1]!))
      differences = [
        ...changes.differences,
        ...state.differences,
        ...compareHoldings('changed', rows, ownOf(changes.holdings)),
        ...compareHoldings('state', rows, ownOf(state.holdings)),
      ]
      return differences.length === 0
    },
    LIMIT_MS,
  ).catch(() => undefined)
  expect(differences.slice(0, SHOWN)).toEqual([])
}

function note(story: string): Difference {
  return { place: 'Postgres', kind: 'extra', key: '', story }
}
