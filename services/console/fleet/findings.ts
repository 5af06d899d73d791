// What of the installation needs a look, the worst first. Pure. Invariant: what could not be looked
// at is not well.
import { CAUSE_CODES, entryOf } from '#shared/domain/causes.ts'
import { WITHOUT, type ServiceName } from '#shared/domain/causes-of-installation.ts'
import { count, counted, span } from '../words.ts'
import type { Finding, Fleet } from './fleet.ts'

/** The oldest row waits for a moment on a good day. */
const OUTBOX_AGE_MAX_S = 30

/** Empty when all of it was seen and is well. */
export function findingsOf(fleet: Omit<Fleet, 'findings' | 'is_well'>): readonly Finding[] {
  const { database_problem: problem, gates, backlog } = fleet
  const found: Finding[] = []
  if (problem !== null)
    found.push({
      level: 'bad',
      text: `Postgres does not answer: ${problem} The figures are the last ones.`,
      href: null,
    })
  if (gates === null)
    found.push({
      level: 'bad',
      text: 'Unleash does not answer, so whether anything may run is not known.',
      href: '/gates',
    })
  for (const { gate, state, open } of gates ?? [])
    if (!open) found.push({ level: 'warn', text: `The gate ${gate} is closed (${state}).`, href: '/gates' })
  if (backlog !== null) found.push(...waiting(backlog))
  found.push(...servicesOf(fleet.services), ...causesOf(fleet.causes))
  return found.toSorted((a, b) => Number(a.level !== 'bad') - Number(b.level !== 'bad'))
}

function waiting(backlog: NonNullable<Fleet['backlog']>): readonly Finding[] {
  const { outbox_rows: rows, outbox_oldest_seconds: age, held, dead_letters: letters } = backlog
  const found: Finding[] = []
  if (age > OUTBOX_AGE_MAX_S)
    found.push({
      level: 'bad',
      text: `${count(rows, 'change')} wait to be published, the oldest for ${span(age)}. Look whether the relay runs and Kafka answers.`,
      href: null,
    })
  for (const { gate, connections } of held)
    found.push({
      level: 'warn',
      text: `Work of ${count(connections, 'connection')} waits for ${gate}.`,
      href: '/gates',
    })
  if (letters > 0)
    found.push({
      level: 'warn',
      text: `${counted(letters)} dead ${letters === 1 ? 'letter was' : 'letters were'} given up and not replayed.`,
      href: '/dead-letters',
    })
  return found
}

/** A service of which no process ever told is told of too: an installation has all five. */
function servicesOf(services: Fleet['services']): readonly Finding[] {
  return services.flatMap(({ service, state, problems }): Finding[] => {
    switch (state) {
      case 'alive':
        return []
      case 'lost':
        return [
          {
            level: 'bad',
            text: `No process of ${service} lives: ${WITHOUT[service as ServiceName]}.`,
            href: null,
          },
        ]
      case 'short':
        return [{ level: 'warn', text: `Fewer processes of ${service} live than did.`, href: null }]
      case 'restarting':
        return [
          {
            level: 'bad',
            text: `Processes of ${service} keep ending without being told to. Look at its log.`,
            href: null,
          },
        ]
      case 'not_ready':
        return [{ level: 'warn', text: `${service} is not ready: ${problems.join('; ')}.`, href: null }]
      default:
        return state satisfies never
    }
  })
}

/** Causes that a person can act on, or that stop work; in the order of their rank. */
function causesOf(causes: Fleet['causes']): readonly Finding[] {
  return CAUSE_CODES.flatMap((code): Finding[] => {
    const { actor, effect, means } = entryOf(code)
    const number = causes
      .filter(({ cause }) => cause === code)
      .reduce((sum, { connections }) => sum + connections, 0)
    const isCalm = effect === 'warns' || (effect === 'delays' && actor === 'nobody')
    if (number === 0 || isCalm) return []
    const level = effect === 'stops' ? 'bad' : 'warn'
    return [{ level, text: `${count(number, 'connection')}: ${means}`, href: `/connections?cause=${code}` }]
  })
}
