// The simulated vendor: Google Calendar v3 and Google's OAuth server over real HTTP, with an admin API beside it. It shares no code
// with the adapters, so that the two cannot be wrong together.
//
//   googleUrl   the API at the origin's root, /token, /revoke, /o/oauth2/v2/auth
//   adminUrl    /admin/…: accounts, events, load, faults, notifications, latency, paging, cursors, webhooks, truth, changes,
//               requests, channels, knobs, reset (control/admin*.ts; bodies in control/bodies.ts)
//
// Kept in memory, oldest dropped and counted: 100 000 requests, 100 000 webhook attempts, changes of 1 000 000 occurrences in all,
// 20 000 tombstones per calendar, 200 paging runs. Listens on 127.0.0.1 unless `host` says otherwise. With `dataDir` the world is journalled and comes back
// as it was: accounts, tokens, events, sync tokens, channels (ledgers and knobs do not).
import { createAdmin } from './control/admin.ts'
import { createFaults } from './control/faults.ts'
import { defaultKnobs } from './control/knobs.ts'
import { createLedger } from './control/ledger.ts'
import { createLoadGenerator } from './control/load.ts'
import { createAccount } from './control/accounts.ts'
import { createRequestLog } from './control/request-log.ts'
import { createPush } from './google/push.ts'
import { createFront } from './google/server.ts'
import { createTokenMint } from './google/tokens.ts'
import { listen } from './http.ts'
import { createRandom } from './random.ts'
import type { Change } from './world/commit.ts'
import { openJournal } from './world/journal.ts'
import { World } from './world/world.ts'
import type { SimulatorConfig } from './config.ts'

export interface Simulator extends AsyncDisposable {
  /** Origin of the Google side, without a trailing slash. */
  readonly googleUrl: string
  readonly adminUrl: string
}

/** The changes ledger is capped by occurrences, because one change of an endless series touches hundreds. */
const OCCURRENCES_KEPT = 1_000_000

/** Starts the simulator; rejects when a port is taken or the journal cannot be read. */
export async function startSimulator(config: SimulatorConfig): Promise<Simulator> {
  await using owned = new AsyncDisposableStack()
  const seed = config.seed ?? 'calstream'
  const clientId = config.clientId ?? 'calstream-local'
  const clientSecret = config.clientSecret ?? 'calstream-local-secret'
  const world = new World({ seed, identity: { clientId, clientSecret }, now: createNow() })
  const journal = config.dataDir === undefined ? null : owned.use(openJournal(config.dataDir, world))
  const knobs = defaultKnobs(config.latencyMs ?? 0)
  const faults = createFaults()
  const requests = createRequestLog()
  const changes = createLedger<Change>(OCCURRENCES_KEPT, (change) => 1 + change.eventIds.length)
  const push = owned.use(createPush(world, knobs.notifications, seed))
  const load = owned.use(createLoadGenerator(world, seed))
  world.listeners.add((change) => {
    changes.append(change)
    push.notify(change.accountId, change.calendarId)
  })
  const stopped = new AbortController()
  let googleUrl = ''
  const tokens = createTokenMint(seed)
  const google = {
    world,
    list: { world, tokens, knobs, seed, runs: new Map() },
    oauth: { world, tokens, knobs, seed, codes: new Map() },
    watch: {
      world,
      push,
      knobs,
      seed,
      googleUrl: () => googleUrl,
      allowHttpCallbacks: config.allowHttpCallbacks ?? false,
    },
    newAccount: (email?: string) => createAccount(world, seed, { email }),
  }
  const front = createFront({ google, knobs, faults, requests, stopped: stopped.signal })
  const googleServer = owned.use(await listen({ port: config.googlePort, host: config.host }, front))
  googleUrl = googleServer.url
  const reset = () => {
    load.stopAll()
    faults.clear()
    push.forget()
    for (const ledger of [requests, changes, push.attempts]) ledger.clear()
    Object.assign(knobs.notifications, defaultKnobs(0).notifications)
    Object.assign(knobs.paging, defaultKnobs(0).paging)
    knobs.latencyMs = config.latencyMs ?? 0
    world.reset()
    journal?.clear()
  }
  const random = createRandom(`${seed}/admin`)
  const admin = createAdmin({
    world,
    push,
    knobs,
    faults,
    load,
    requests,
    changes,
    seed,
    random,
    googleUrl: () => googleUrl,
    reset,
  })
  const adminServer = owned.use(await listen({ port: config.adminPort, host: config.host }, admin))
  owned.defer(() => stopped.abort())
  const all = owned.move()
  return { googleUrl, adminUrl: adminServer.url, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** The wall clock with fractions of a millisecond, so that freshness can be measured from a change's own time. */
function createNow(): () => number {
  let origin = performance.timeOrigin
  return () => {
    const at = origin + performance.now()
    const wall = Date.now()
    // The monotonic clock and the wall clock part when the wall clock is set or the machine sleeps.
    if (Math.abs(wall - at) < 5) return at
    origin += wall - at
    return wall
  }
}
