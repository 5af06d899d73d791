// `calstream repair …` and `calstream repairs …`: one thing done to many connections or dead
// letters, at a gentle rate. The command asks; the scheduler does, so closing the terminal ends
// nothing.
import { userInfo } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { isUuid, type Micros } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import {
  DEFAULT_RATES,
  filterProblem,
  RATE_MAX,
  type RepairFilter,
  type RepairKind,
} from '#shared/domain/repair.ts'
import { UserError } from '#shared/process/user-error.ts'
import type { Queryable } from '#shared/store/database.ts'
import { countMatches } from '#shared/store/repair-matches.ts'
import { abortRepair, readRepair, readRepairs, startRepair, type Repair } from '#shared/store/repairs.ts'
import type { Admission } from '#shared/store/status.ts'
import { cliLogger, openDatabaseOf } from './open.ts'
import { limitOf } from './options.ts'
import type { Output } from './output.ts'
import { admissionOf } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'
import { count, span } from './words.ts'

export interface RepairOptions {
  readonly connection?: string
  readonly provider?: string
  readonly vendor?: string
  readonly state?: string
  readonly cause?: string
  /** An instant with its offset, or how long ago: 30m, 6h, 2d. */
  readonly since?: string
  readonly code?: string
  readonly anyway?: boolean
  readonly all?: boolean
  readonly rate?: string
  readonly by?: string
  readonly dryRun?: boolean
  readonly follow?: boolean
}

const LOOK_MS = 1000
/** A scheduler looks every second; when one dies another does after 15 s. */
const SEEN_WITHIN_SECONDS = 20
/** Every gate open: of a filter that names no state. */
const ANYBODY: Admission = { sync: 'on', providers: null, connections: null }

/**
 * Asks for a repair, or with `dryRun` says how many it would be about. Throws UserError for a
 * filter that makes no sense or names no one, Failure `store/*`.
 */
export async function repair(
  kind: RepairKind,
  options: RepairOptions,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const filter = filterOf(options)
  const problem = filterProblem(kind, filter)
  if (problem !== null) throw new UserError(`${problem} (calstream repair --help)`)
  const ratePerS = rateOf(kind, options.rate)
  // The gates are asked only where they decide: a pause must work without the flag server.
  const admission =
    filter.state === undefined && filter.cause === undefined ? ANYBODY : admissionOf(await readToggles(env))
  await using database = openDatabaseOf(env, cliLogger())
  if (options.dryRun === true) {
    const matches = await countMatches(database, kind, filter, admission)
    return output.object({ kind, matches, rate_per_s: ratePerS, takes: span(matches / ratePerS) })
  }
  const asked = { kind, filter, by: options.by ?? userName(), ratePerS }
  const start = await startRepair(database, asked, admission)
  switch (start.kind) {
    case 'nothing':
      return output.object({ kind, matches: 0, rate_per_s: ratePerS, takes: span(0) })
    case 'too-many':
      throw new UserError(
        `${count(start.running, 'repair')} run already. Wait for one, or end one: calstream repairs list.`,
      )
    case 'running':
      output.line('The same repair runs already.')
      break
    case 'started':
      break
    default:
      return start satisfies never
  }
  if (options.follow === true) return followRepair(database, start.repair.id, output)
  output.object(shown(start.repair))
  output.line(`Follow it: calstream repairs show ${start.repair.id}`)
}

/** Prints repairs, those that run first. Throws Failure `store/*`. */
export async function listRepairs(
  { limit }: { readonly limit: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  await using database = openDatabaseOf(env, cliLogger())
  const found = await readRepairs(database, { limit: limitOf(limit, 10_000) })
  if (output.isJson) return output.rows(found.map(shown))
  output.rows(
    found.map(shown).map(({ id, kind, filter, state, done, total, failed, by, asked_at }) => {
      return { id, kind, filter, state, done: `${done} of ${total}`, failed, by, asked_at }
    }),
    'No repair was asked for yet.',
  )
}

/** Prints one repair, or follows it to its end. Throws UserError when there is none. */
export async function showRepair(
  id: string,
  options: { readonly follow?: boolean },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  await using database = openDatabaseOf(env, cliLogger())
  if (options.follow === true) return followRepair(database, namedId(id), output)
  output.object(shown(known(id, await readRepair(database, namedId(id)))))
}

/** Ends a repair where it is. Throws UserError when there is none, or when it has ended. */
export async function endRepair(
  id: string,
  options: { readonly by?: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  await using database = openDatabaseOf(env, cliLogger())
  const ended = known(id, await abortRepair(database, namedId(id), options.by ?? userName()))
  if (ended.state !== 'aborted') throw new UserError(`The repair ${id} has ended already: ${ended.state}.`)
  output.object(shown(ended))
}

/** Tells of a repair each second until it ends. Throws UserError when it did not end well. */
async function followRepair(db: Queryable, id: string, output: Output): Promise<void> {
  let told = ''
  for (;;) {
    const repair = known(id, await readRepair(db, id))
    const line = progressOf(repair)
    if (line !== told) output.entry({ line, document: shown(repair) })
    told = line
    if (repair.state === 'failed' || repair.state === 'aborted')
      throw new UserError(`The repair ended as ${repair.state}: ${repair.lastError ?? repair.endedBy ?? ''}`)
    if (repair.state === 'done') return
    await delay(LOOK_MS)
  }
}

function progressOf(repair: Repair): string {
  const { kind, state, done, total, failed, ratePerS } = repair
  const figures = `${kind} ${state}: ${done} of ${total} done${failed === 0 ? '' : `, ${failed} failed`}`
  if (state !== 'running') return `${figures}.${repair.lastError === null ? '' : ` ${repair.lastError}`}`
  const waits = waitOf(repair)
  if (waits !== null) return `${figures}. ${waits}`
  return `${figures}, about ${span(Math.max(0, total - done - failed) / ratePerS)} left.`
}

/** Why a running repair stands still; null when nothing is known. */
function waitOf({ state, waitsFor, workedAt, askedAt, now }: Repair): string | null {
  if (state !== 'running') return null
  if (now - (workedAt ?? askedAt) > SEEN_WITHIN_SECONDS * 1e6)
    return 'No scheduler works on it. Start one, or look: calstream doctor.'
  return waitsFor
}

function shown(repair: Repair) {
  const { id, kind, filter, state, total, done, failed, ratePerS, by, lastError } = repair
  return {
    id,
    kind,
    filter: { ...filter, ...(filter.since === undefined ? {} : { since: isoOf(filter.since) }) },
    state,
    done,
    failed,
    total,
    rate_per_s: ratePerS,
    waits_for: waitOf(repair),
    last_error: lastError,
    by,
    asked_at: isoOf(repair.askedAt),
    ended_at: isoOf(repair.endedAt),
    ended_by: repair.endedBy,
  }
}

function known(id: string, repair: Repair | null): Repair {
  if (repair === null) throw new UserError(`There is no repair ${id}. List them: calstream repairs list.`)
  return repair
}

function namedId(id: string): string {
  if (!isUuid(id)) throw new UserError(`A repair is named by its uuid, not "${id}".`)
  return id.toLowerCase()
}

function filterOf({ all, anyway, since, ...named }: RepairOptions): RepairFilter {
  const { connection, provider, vendor, state, cause, code } = named
  return {
    ...(all === true ? { all } : {}),
    ...(connection === undefined ? {} : { connection: connection.toLowerCase() }),
    ...(provider === undefined ? {} : { provider: provider.toLowerCase() }),
    ...(vendor === undefined ? {} : { vendor }),
    ...(state === undefined ? {} : { state }),
    ...(cause === undefined ? {} : { cause }),
    ...(code === undefined ? {} : { code }),
    ...(since === undefined ? {} : { since: sinceOf(since, Date.now()) }),
    ...(anyway === true ? { anyway } : {}),
  }
}

const AGO = /^(\d{1,5})([mhd])$/
const AGO_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 }
/** RFC 3339: an instant without its offset would be another one on another machine. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/

/** Throws UserError for what is neither an instant nor an age. */
export function sinceOf(text: string, nowMs: number): Micros {
  const [, number, unit = ''] = AGO.exec(text) ?? []
  const ago = AGO_MS[unit]
  const ms = number !== undefined && ago !== undefined ? nowMs - Number(number) * ago : instantMs(text)
  if (!Number.isNaN(ms)) return Math.round(ms) * 1000
  throw new UserError(
    `--since takes an instant with its offset, like 2026-05-04T09:00:00Z, or an age like 30m, 6h or 2d; not "${text}".`,
  )
}

function instantMs(text: string): number {
  return INSTANT.test(text) ? Date.parse(text) : Number.NaN
}

function rateOf(kind: RepairKind, text: string | undefined): number {
  if (text === undefined) return DEFAULT_RATES[kind]
  const rate = Number(text)
  if (Number.isFinite(rate) && rate > 0 && rate <= RATE_MAX) return rate
  throw new UserError(`--rate is how many a second, above 0 and at most ${RATE_MAX}; not "${text}".`)
}

/** For the audit. A container's user may have no name. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return 'cli'
  }
}
