// I1, I2, I5: what is stored at the end equals what the vendors have, in Postgres and on the
// topics. Nothing was invented.
import { TOPICS } from '#schemas/topics.ts'
import {
  compareHoldings,
  foldChanges,
  foldState,
  type Difference,
  type Holdings,
} from '../../../infra/oracle/verify.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import type { Checker, Findings } from './check.ts'

/** What the play vendors write into every title they make: account, event, version, hash. */
const CANARY = /^(c\d+)\/e\d+\/v\d+\/[0-9a-f]{12}$/

export const noLostChange: Checker = {
  id: 'I1',
  title: 'No lost change: Postgres equals the vendor',
  check(ledgers): Findings {
    const failures = compareHoldings('Postgres', ledgers.truth, ledgers.held, ledgers.mayDiffer)
    return { checked: ledgers.truth.size, failures: [...failures.map(tell), ...unsettled(ledgers)] }
  },
}

export const nothingInvented: Checker = {
  id: 'I2',
  title: 'No invented or mixed-up data',
  check({ accounts, held, topics, changes }): Findings {
    const accountOf = new Map(accounts.map((account) => [account.connectionId, account.accountId]))
    const known = new Set(
      changes.flatMap(({ etag, eventIds, eventId }) => [eventId, ...eventIds].map((id) => `${id} ${etag}`)),
    )
    const named = new Set(changes.flatMap(({ eventId, eventIds }) => [eventId, ...eventIds]))
    const failures: string[] = []
    let checked = 0
    const look = (
      where: string,
      connectionId: string,
      one: { id: string; title: string | null; etag: string | null },
    ) => {
      checked += 1
      const account = CANARY.exec(one.title ?? '')?.[1]
      if (account === undefined)
        failures.push(
          `${where} ${one.id}: the title ${JSON.stringify(one.title)} was never written by the vendor`,
        )
      else if (account !== accountOf.get(connectionId))
        failures.push(
          `${where} ${one.id}: belongs to account ${account}, not to ${accountOf.get(connectionId)}`,
        )
      else if (named.has(one.id) && !known.has(`${one.id} ${one.etag?.replace(/^W\//, '')}`))
        failures.push(`${where} ${one.id}: the vendor never made version ${one.etag}`)
    }
    for (const [key, image] of held) {
      const [connectionId = '', , ...rest] = key.split('/')
      look('Postgres', connectionId, { id: rest.join('/'), title: image.title, etag: image.etag })
    }
    for (const { message } of topics.get(TOPICS.eventChanged) ?? []) {
      if (!message?.event) continue
      look('topic', message.connectionId, {
        id: message.vendorEventId,
        title: message.event.title,
        etag: message.event.etag,
      })
    }
    return { checked, failures }
  },
}

export const foldEqualsState: Checker = {
  id: 'I5',
  title: 'Folding the topics gives the state of Postgres',
  check({ topics, held, connections }): Findings {
    // Rows of a parked connection stay as they are. Rows of one that is gone left with their
    // removals told. Neither is pulled any more.
    const active = new Set(
      connections.flatMap(({ connectionId, status }) => (status === 'active' ? connectionId : [])),
    )
    const ofActive = (holdings: Holdings): Holdings =>
      new Map([...holdings].filter(([key]) => active.has(key.split('/')[0] ?? '')))
    const changed = foldChanges(topics.get(TOPICS.eventChanged) ?? [])
    const state = foldState(topics.get(TOPICS.eventState) ?? [])
    const failures = [
      ...compareHoldings('changed', held, ofActive(changed.holdings)),
      ...compareHoldings('state', held, ofActive(state.holdings)),
      ...state.differences,
    ]
    return { checked: held.size, failures: failures.map(tell) }
  },
}

function unsettled({ connections, outboxLeft, heldLeft }: Ledgers): string[] {
  const found = connections
    .filter(({ status, syncNeeded }) => status === 'active' && syncNeeded)
    .map(({ connectionId }) => `${connectionId} still needs a sync`)
  if (outboxLeft > 0) found.push(`${outboxLeft} rows wait for the relay`)
  if (heldLeft > 0) found.push(`${heldLeft} requests are held although every gate is open`)
  return found
}

function tell({ place, kind, key, story }: Difference): string {
  return `${place} ${kind} ${key}: ${story}`
}
