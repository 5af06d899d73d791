// What of the installation needs a look, the worst first. Pure. Invariant: what could not be looked
// at is not well.
import { count, counted, span } from '../words.ts'
import type { Finding, Fleet } from './fleet.ts'

/** The oldest row waits for a moment on a good day. */
const OUTBOX_AGE_MAX_S = 30

/** What is not calm, the worst first, and how it is said. */
const STATES: readonly (readonly [state: string, level: Finding['level'], words: string])[] = [
  ['needs_reauth', 'bad', 'wait for a person to connect them again'],
  ['late', 'bad', 'were not read for half an hour'],
  ['retrying', 'warn', 'failed at their last sync and are tried again'],
  ['partly_in_sync', 'warn', 'have calendars that cannot be read'],
  ['paused', 'warn', 'are kept out by a gate'],
  ['disabled', 'warn', 'were disabled by an operator'],
]

/** Empty when all of it was seen and is well. */
export function findingsOf(fleet: Omit<Fleet, 'findings' | 'is_well'>): readonly Finding[] {
  const { database_problem: problem, gates, backlog, connections } = fleet
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
  for (const [state, level, words] of STATES) {
    const number = connections.by_state
      .filter((line) => line.state === state)
      .reduce((total, line) => total + line.connections, 0)
    if (number > 0)
      found.push({
        level,
        text: `${count(number, 'connection')} ${verb(number, words)}.`,
        href: `/connections?state=${state}`,
      })
  }
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

/** The words are written for several. */
function verb(number: number, words: string): string {
  if (number !== 1) return words
  return words
    .replace(/^wait /, 'waits ')
    .replace(/^were /, 'was ')
    .replace(/^have /, 'has ')
    .replace(/^are /, 'is ')
    .replace(/^failed at their/, 'failed at its')
    .replace('connect them', 'connect it')
}
