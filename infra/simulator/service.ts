// The simulated vendors: Google Calendar v3, Microsoft Graph v1.0 and the OAuth servers of both
// over real HTTP, with an admin API beside them. It shares no code with the adapters, so that the
// two cannot be wrong together.
//
//   googleUrl     the API at the origin's root, /token, /revoke, /o/oauth2/v2/auth
//   microsoftUrl  Graph at /v1.0, sign-in at /{tenant}/oauth2/v2.0/{authorize,token}
//   adminUrl      /admin/… (control/admin*.ts; bodies in control/bodies.ts)
//     world       accounts, …/calendars, …/events, …/events/{id}/move, events/change, …/revoke,
//                 load, cursors/expire, reset, health
//     trouble     faults, webhooks/send, subscriptions/lose, lifecycle, notifications/forged
//     knobs       knobs (all), notifications, latency, access-tokens, paging, consent, grants,
//                 quota, cursors, channels, microsoft
//     time        clock, scenario
//     ledgers     truth, changes, requests, webhooks, channels, subscriptions
//
// All of the vendors' own time (stamps, lives of tokens and channels, delays and retries of
// deliveries) follows one clock. GET /admin/clock shows it, POST /admin/clock {advanceMs} or {to}
// moves it on; in mode `manual` it moves in no other way. A scenario (scenario/plan.ts; POST
// /admin/scenario, or `scenario` in the settings) is a timeline on that clock:
//   { "name": "…", "seed": 1, "steps": [
//     { "do": "POST /admin/accounts", "with": {…}, "as": "ana" },
//     { "at": "2h 30m", "do": "POST /admin/accounts/${ana.accountId}/revoke" },
//     { "at": "1h", "every": "1h", "times": 24, … } ] }
//
// Kept in memory, oldest dropped and counted: 500 000 requests, 500 000 webhook attempts,
// changes of 1 000 000 occurrences in all, 20 000 tombstones per calendar, 200 paging runs.
// Listens on 127.0.0.1 unless `host` says otherwise. With `dataDir` the world is journalled and
// comes back as it was: accounts, tokens, events, sync tokens, channels, clock, scenario
// (ledgers and knobs do not).
import { AsyncLocalStorage } from 'node:async_hooks'
import { createClock } from './clock/clock.ts'
import { createAdmin, dispatch, lookUpCall } from './control/admin.ts'
import type { AdminDeps } from './control/context.ts'
import { createScenarioRunner, type ScenarioRunner } from './scenario/runner.ts'
import { createFaults } from './control/faults.ts'
import { defaultKnobs, resetKnobs } from './control/knobs.ts'
import { createLedger } from './control/ledger.ts'
import { createLoadGenerator } from './control/load.ts'
import { createAccount } from './control/accounts.ts'
import { createRequestLog } from './control/request-log.ts'
import { createPush } from './google/push.ts'
import { createGoogleFront } from './google/server.ts'
import { createTokenMint } from './google/tokens.ts'
import { type Call, listen } from './http.ts'
import { createNotices } from './microsoft/notices.ts'
import { createMicrosoftFront } from './microsoft/server.ts'
import { createSigned } from './microsoft/signed.ts'
import { createRandom } from './random.ts'
import type { Change } from './world/commit.ts'
import { openJournal } from './world/journal.ts'
import type { Subscription } from './world/entries.ts'
import { World } from './world/world.ts'
import type { SimulatorConfig } from './config.ts'

export interface Simulator extends AsyncDisposable {
  /** Origin of the Google side, without a trailing slash. */
  readonly googleUrl: string
  /** Origin of the Microsoft side, without a trailing slash: Graph and sign-in. */
  readonly microsoftUrl: string
  readonly adminUrl: string
}

/**
 * The changes ledger is capped by occurrences,
 * because one change of an endless series touches hundreds.
 */
const OCCURRENCES_KEPT = 1_000_000

/** Starts the simulator; rejects when a port is taken or the journal cannot be read. */
export async function startSimulator(config: SimulatorConfig): Promise<Simulator> {
  await using owned = new AsyncDisposableStack()
  const core = createCore(config, owned)
  let googleUrl = ''
  const front = underItsName(
    (name) => createGoogle(core, config, name),
    () => googleUrl,
  )
  const googleServer = owned.use(await listen({ port: config.googlePort, host: config.host }, front))
  googleUrl = googleServer.url
  let microsoftUrl = ''
  const graph = underItsName(
    (name) => createMicrosoft(core, config, name),
    () => microsoftUrl,
  )
  const graphServer = owned.use(await listen({ port: config.microsoftPort ?? 0, host: config.host }, graph))
  microsoftUrl = graphServer.url
  const random = createRandom(`${core.seed}/admin`)
  const adminDeps: AdminDeps = {
    ...core,
    random,
    googleUrl: () => googleUrl,
    scenario: () => scenario,
    reset: () => {
      scenario.cancel()
      reset(core, config)
    },
  }
  const scenario = createScenario(core, adminDeps)
  await startScenario(core, config, scenario)
  const admin = createAdmin(adminDeps)
  const adminServer = owned.use(await listen({ port: config.adminPort, host: config.host }, admin))
  owned.defer(() => core.stopped.abort())
  const all = owned.move()
  return {
    googleUrl,
    microsoftUrl,
    adminUrl: adminServer.url,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/**
 * A vendor that names itself in its answers as it was called: by this machine, by the name of a
 * container, through a port that is passed on. Links to the next page lead back the same way.
 * @param bound its name outside of a call.
 */
function underItsName(
  create: (name: () => string) => (call: Call) => Promise<void>,
  bound: () => string,
): (call: Call) => Promise<void> {
  const called = new AsyncLocalStorage<string>()
  const front = create(() => called.getStore() ?? bound())
  return (call) => {
    const { host } = call.headers
    return host === undefined ? front(call) : called.run(`http://${host}`, () => front(call))
  }
}

type Core = ReturnType<typeof createCore>

/**
 * What both vendors and the admin API share:
 * the world with its clock and journal, the knobs, the ledgers.
 */
function createCore(config: SimulatorConfig, owned: AsyncDisposableStack) {
  const seed = config.seed ?? 'calstream'
  const clientId = config.clientId ?? 'calstream-local'
  const clientSecret = config.clientSecret ?? 'calstream-local-secret'
  const clock = owned.use(createClock({ mode: config.clock ?? 'running', startAt: config.clockStart }))
  const identities = {
    google: { clientId, clientSecret },
    microsoft: {
      clientId: config.microsoftClientId ?? clientId,
      clientSecret: config.microsoftClientSecret ?? clientSecret,
    },
  }
  const world = new World({ seed, identities, now: () => clock.now() })
  const journal = config.dataDir === undefined ? null : owned.use(openJournal(config.dataDir, world))
  if (world.clockState) clock.restore(world.clockState)
  const knobs = defaultKnobs(config.latencyMs ?? 0)
  const changes = createLedger<Change>(OCCURRENCES_KEPT, (change) => 1 + change.eventIds.length)
  const { loopbackHost } = config
  const push = owned.use(createPush({ world, knobs: knobs.notifications, clock, seed, loopbackHost }))
  const notices = owned.use(
    createNotices({
      world,
      knobs,
      clock,
      seed,
      loopbackHost,
      record: (attempt) => push.note({ ...attempt, messageNumber: 0 }),
    }),
  )
  const load = owned.use(createLoadGenerator(world, seed))
  clock.onAdvance({
    begin: (state) => world.keepClock(state),
    settled: async () => void (await Promise.all([push.idle(), notices.idle()])),
  })
  world.listeners.add((change) => {
    changes.append(change)
    push.notify(change.accountId, change.calendarId)
    notices.changed(change)
  })
  const [faults, requests, stopped] = [
    createFaults(() => clock.now(), seed),
    createRequestLog(),
    new AbortController(),
  ]
  return { seed, clock, world, journal, knobs, faults, requests, changes, push, notices, load, stopped }
}

function createGoogle(core: Core, config: SimulatorConfig, googleUrl: () => string) {
  const { world, knobs, seed, push, faults, requests, stopped } = core
  const tokens = createTokenMint(seed)
  const allowHttpCallbacks = config.allowHttpCallbacks ?? false
  const google = {
    world,
    list: { world, tokens, knobs, seed, runs: new Map() },
    oauth: { world, tokens, knobs, seed, codes: new Map(), minted: { codes: 0 } },
    watch: { world, push, knobs, seed, googleUrl, allowHttpCallbacks },
    newAccount: (email: string) => createAccount(world, seed, { email }),
  }
  return createGoogleFront(
    { now: () => world.now(), knobs, faults, requests, stopped: stopped.signal },
    google,
  )
}

function createMicrosoft(core: Core, config: SimulatorConfig, origin: () => string) {
  const { world, knobs, seed, notices, faults, requests, stopped } = core
  const signed = createSigned(seed)
  const newAccount = (email: string) => createAccount(world, seed, { vendor: 'microsoft', email })
  const microsoft = {
    world,
    knobs,
    seed,
    origin,
    delta: { world, signed, knobs, seed, origin, rounds: new Map() },
    events: { world, knobs, origin, random: createRandom(`${seed}/conflicts`), transactions: new Map() },
    entra: { world, signed, knobs, seed, codes: new Map(), minted: { codes: 0 }, newAccount },
    subscriptions: {
      world,
      origin,
      clientId: world.identities.microsoft.clientId,
      allowHttpCallbacks: config.allowHttpCallbacks ?? false,
      loopbackHost: config.loopbackHost,
      knobs,
      resumed: (subscription: Subscription) => notices.resumed(subscription),
    },
  }
  return createMicrosoftFront(
    { now: () => world.now(), knobs, faults, requests, stopped: stopped.signal },
    microsoft,
  )
}

function createScenario({ clock, world }: Core, admin: AdminDeps): ScenarioRunner {
  const runner = createScenarioRunner({
    clock,
    world,
    lookup: lookUpCall,
    dispatch: ({ method, path, body, seed }) => {
      const url = new URL(path, 'http://simulator')
      const call = { method, path: url.pathname, query: url.searchParams, headers: {}, body }
      return dispatch({ ...admin, random: createRandom(seed) }, call)
    },
  })
  clock.onAdvance({ settled: () => runner.idle() })
  return runner
}

/**
 * Goes on with the journal's scenario, or begins the configured one;
 * rejects when a step of its very beginning fails.
 */
async function startScenario(core: Core, config: SimulatorConfig, runner: ScenarioRunner): Promise<void> {
  if (core.world.scenario) return runner.resume()
  if (config.scenario === undefined) return
  const { failures } = await runner.start(config.scenario)
  const [first] = failures
  if (first) throw new Error(`The scenario failed at ${first.place}: ${first.error}`)
}

/** Back to an empty world and a healthy vendor; the clock stays where it is. */
function reset(core: Core, config: SimulatorConfig): void {
  core.load.stopAll()
  core.faults.clear()
  core.push.forget()
  core.notices.forget()
  for (const ledger of [core.requests, core.changes, core.push.attempts]) ledger.clear()
  resetKnobs(core.knobs, config.latencyMs ?? 0)
  core.world.reset()
  core.journal?.clear()
}
