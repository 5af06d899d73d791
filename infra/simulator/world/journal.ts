// The journal: every committed change as one line, on disk before anybody hears of it, so that a
// world outlives its process, even one that is killed. At start the file is replayed and rewritten
// as the shortest list of lines that gives the same world.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Calendar, stateOf } from './calendar.ts'
import type { Entry } from './entries.ts'
import type { World } from './world.ts'

const FILE = 'simulator-world.ndjson'

export interface Journal {
  /** Forgets everything on disk (the world was reset). */
  clear(): void
  [Symbol.dispose](): void
}

/**
 * Replays the journal in `dataDir` into an empty world and records what happens from now on. Throws
 * when a line in the middle cannot be read; a torn last line (the machine went down) is dropped.
 */
export function openJournal(dataDir: string, world: World): Journal {
  mkdirSync(dataDir, { recursive: true })
  const path = join(dataDir, FILE)
  replay(path, world)
  compact(path, world)
  let file = openSync(path, 'a')
  world.record = (entry) => {
    // Written through at once: about 10 µs,
    // and what an answer says has then survived a kill -9 of this process.
    writeSync(file, `${JSON.stringify(entry)}\n`)
  }
  return {
    clear() {
      closeSync(file)
      compact(path, world)
      file = openSync(path, 'a')
    },
    [Symbol.dispose]() {
      world.record = () => {}
      closeSync(file)
    },
  }
}

/** The shortest list of entries that gives this world. */
export function* snapshot(world: World): Generator<Entry> {
  yield { k: 'meta', seq: world.seq, accounts: world.accountCount }
  if (world.clockState) yield { k: 'clock', state: world.clockState }
  if (world.scenario) yield { k: 'scenario', scenario: world.scenario }
  for (const account of world.accounts.values()) {
    const { calendars, grants, ...plain } = account
    yield { k: 'account', account: plain }
    for (const token of grants) {
      const grant = world.grants.get(token)
      if (grant) yield { k: 'grant', grant }
    }
    for (const calendar of calendars.values()) yield* snapshotCalendar(calendar)
  }
  for (const channel of world.channels.values()) yield { k: 'channel', channel }
  for (const subscription of world.subscriptions.values()) yield { k: 'subscription', subscription }
  for (const id of world.usedChannelIds) {
    if (!world.channels.has(id)) yield { k: 'channel-stopped', id }
  }
}

function* snapshotCalendar(calendar: Calendar): Generator<Entry> {
  const { accountId: a, id: c, email, name, timeZone, accessRole, primary, pushSupported } = calendar
  const info = { accountId: a, id: c, email, name, timeZone, accessRole, primary, pushSupported }
  yield { k: 'calendar', info, seq: calendar.listSeq, at: calendar.updatedAt }
  const docs = [...calendar.docs.values()].toSorted((left, right) => left.seq - right.seq)
  for (const doc of docs) {
    const ghosts = [...(calendar.ghosts.get(doc.id)?.values() ?? [])]
    yield { k: 'write', a, c, doc, ghosts, dropped: [] }
  }
  yield { k: 'calendar-state', a, c, state: stateOf(calendar) }
}

function replay(path: string, world: World): void {
  if (!existsSync(path)) return
  const lines = readFileSync(path, 'utf8').split('\n')
  const complete = lines.slice(0, -1)
  for (const [index, line] of complete.entries()) {
    try {
      world.apply(JSON.parse(line) as Entry)
    } catch (cause) {
      throw new Error(
        `Line ${index + 1} of ${path} cannot be read. Delete the file to begin with an empty world.`,
        {
          cause,
        },
      )
    }
  }
}

function compact(path: string, world: World): void {
  const draft = `${path}.new`
  rmSync(draft, { force: true })
  const file = openSync(draft, 'w')
  let chunk = ''
  for (const entry of snapshot(world)) {
    chunk += `${JSON.stringify(entry)}\n`
    if (chunk.length > 1_000_000) {
      writeSync(file, chunk)
      chunk = ''
    }
  }
  writeSync(file, chunk)
  closeSync(file)
  renameSync(draft, path)
}
