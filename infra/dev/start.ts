// `npm start`: the whole product on this machine, real parts and our services as separate
// processes, kept running until Ctrl-C. Its arguments: start.usage.txt.
// Whatever happens, this process is the last of the stack to end:
// services stop first, then what they stand on.
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import type { Component } from '../stack/component.ts'
import { type DemoOptions, parseDemoOptions } from '../demo/options.ts'
import { LOCAL_PROVIDERS } from '../demo/accounts.ts'
import { comeToRest } from '../demo/rest.ts'
import type { DemoStack } from '../demo/setting.ts'
import { runDemo } from '../demo/demo.ts'
import {
  INFRASTRUCTURE_PORTS,
  type Infrastructure,
  type InfrastructureOptions,
  startInfrastructure,
  type StackPlace,
} from '../stack/infrastructure.ts'
import { cacheFolder } from '../stack/java-parts.ts'
import { NODE_IDS } from '../stack/kafka-cluster.ts'
import { keptPorts } from '../stack/ports.ts'
import { calstream, prepareStack } from '../stack/prepare.ts'
import { explain, UserError } from '#shared/process/user-error.ts'
import { ProcessLedger } from '../stack/processes.ts'
import { Progress, seconds } from '../stack/progress.ts'
import { keptSecuring, SECURE_PORTS, type Securing } from '../stack/secured.ts'
import { keptSecrets, type StackSecrets, writeRolePasswords } from '../stack/secrets.ts'
import { seedToggles, type ToggleSeed } from '#shared/gates/seed-toggles.ts'
import {
  REPOSITORY,
  SERVICE_PORTS,
  type ServiceName,
  SERVICES,
  stackEnv,
  type StackEnv,
  startService,
  startSimulator,
} from '../stack/services.ts'
import { simulatorAdmin } from '../oracle/simulator-admin.ts'
import { addressLines, secureLines, thingsToTry } from './start-words.ts'
import {
  holdFolder,
  removeStackFile,
  SECURE_FOLDER,
  STACK_FOLDER,
  writeStackFile,
} from '../stack/stack-folder.ts'
import { keepRunning, startedInTheEnd } from '../stack/supervise.ts'
import { parsedOrUsage } from '../stack/usage.ts'

const options = parsedOrUsage(import.meta.filename, process.argv.slice(2), parseDemoOptions)
const progress = new Progress(process.stdout)
const interrupt = new AbortController()
let stoppingSince = 0
/** Copies of one Ctrl-C come within this time. */
const ONE_CTRL_C_MS = 700
/**
 * Bounds the wait for notifications that cannot arrive: held back by a person's knob, or sent to a
 * service that was killed.
 */
const LAST_NOTIFICATIONS_MS = 3_000
/** Parts that are not ready yet. */
const starting = new Set<string>()
const SAY_EVERY_MS = 15_000
/** Lines about a download come every second while it lasts; 0 to 0 without one. */
const fetching = { since: 0, until: 0 }
/** Fires when the person is in a hurry: the last notifications are not waited for. */
const hurry = new AbortController()
// Ctrl-C reaches us two or three times (terminal, npm, bootstrap) within a moment: the first begins
// the stop, the others change nothing. One that comes later is a second Ctrl-C.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => beginStop(name))

try {
  await main(options, interrupt.signal)
  // Asked to show that everything converges, and cut off before it did.
  if (interrupt.signal.aborted && options.untilSynced) process.exitCode = 130
} catch (error) {
  if (!interrupt.signal.aborted) progress.line(explain(error))
  process.exitCode = interrupt.signal.aborted ? 130 : 1
}

async function main(options: DemoOptions, signal: AbortSignal): Promise<void> {
  using held = await holdFolder(STACK_FOLDER)
  if (held.orphans.length > 0) progress.line(`Ended what a killed run had left: ${held.orphans.join(', ')}.`)
  const place: StackPlace = {
    folder: options.secure ? SECURE_FOLDER : STACK_FOLDER,
    cache: cacheFolder(process.env, homedir()),
    env: process.env,
    ledger: new ProcessLedger(STACK_FOLDER),
  }
  mkdirSync(place.folder, { recursive: true })
  await using stack = await startStack(place, signal)
  progress.line(
    `Ready after ${seconds(progress.elapsedMs())}. Logs: ${shown(place)}/logs, addresses and tokens: .calstream/stack.json`,
  )
  for (const line of addressLines(stack.urls, shown(place))) progress.line(line)
  if (options.secure) for (const line of secureLines(shown(place))) progress.line(line)
  if (!options.untilSynced) for (const line of thingsToTry(stack.urls)) progress.line(line)
  const done = new AbortController()
  const until = AbortSignal.any([signal, done.signal])
  try {
    const demo = runDemo(demoStack(stack, place), options, until)
    const kept = keepRunning(stack.components, eventsOf(stack, place), until)
    await (options.untilSynced ? Promise.race([demo, kept]) : Promise.all([demo, kept]))
  } catch (error) {
    // Said now: stopping takes seconds, and may be cut off by who waits for the reason.
    if (!signal.aborted) progress.line(explain(error))
    throw new UserError('The stack was stopped for the reason above.')
  } finally {
    done.abort()
    await letArrive(stack.env)
  }
}

/** The load ends first and its last notifications arrive, while all that they need still runs. */
async function letArrive(env: StackEnv): Promise<void> {
  const within = AbortSignal.any([hurry.signal, AbortSignal.timeout(LAST_NOTIFICATIONS_MS)])
  await comeToRest(simulatorAdmin(env['SIMULATOR_ADMIN_URL'] ?? '', within), within)
}

interface StartedStack extends AsyncDisposable {
  readonly infrastructure: Infrastructure
  readonly components: readonly Component[]
  readonly env: StackEnv
  readonly urls: Readonly<Record<string, string>>
}

/**
 * Infrastructure and simulator side by side, then tables, topics and schemas,
 * then the services. All or nothing.
 */
async function startStack(place: StackPlace, signal: AbortSignal): Promise<StartedStack> {
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const base: Component[] = []
  const services: Component[] = []
  const begun: Promise<unknown>[] = []
  const stopAll = async (): Promise<void> => {
    const began = performance.now()
    removeStackFile(STACK_FOLDER)
    // Our services drain into what they stand on, so that stops after them.
    await stopSideBySide(services)
    await stopSideBySide(base)
    if (base.length + services.length > 0) progress.line(`Stopped in ${seconds(performance.now() - began)}.`)
  }
  const telling = tellWhatIsAwaited()
  const add = async (to: Component[], name: string, starting: Promise<Component>): Promise<void> => {
    to.push(await timed(name, starting))
  }
  try {
    const names = [...INFRASTRUCTURE_PORTS, ...SERVICE_PORTS, ...SECURE_PORTS]
    const ports = await keptPorts(names, `${place.folder}/ports.json`)
    const secrets = keptSecrets(place.folder)
    const securing = options.secure ? await keptSecuring(place.folder, { ...secrets, ports }) : null
    const brokers = securing === null ? ['kafka'] : NODE_IDS.map((id) => `kafka-${id}`)
    for (const name of ['postgres', ...brokers, 'registry', 'unleash']) starting.add(name)
    const infra = startInfrastructure(infrastructureOptions(place, { ports, secrets, securing }), either)
    begun.push(
      infra.then(({ components }) => base.push(...components)),
      add(base, 'simulator', startSimulator({ ports, secrets }, place, either)),
    )
    await Promise.all(begun)
    const infrastructure = await infra
    const rolePasswordsFile = writeRolePasswords(place.folder, secrets)
    const env = stackEnv({ infrastructure, ports, secrets, rolePasswordsFile })
    // Whoever connects an account for one of them sees it synced:
    // nobody's calendars but played ones are here.
    const seed = {
      switchesOn: true,
      providerIds: LOCAL_PROVIDERS,
      connectionIds: 'everybody',
    } as const satisfies ToggleSeed
    begun.push(
      timed('tables, topics, schemas', prepareStack(env, place, either)),
      seedToggles(infrastructure.unleash, seed, either),
    )
    await Promise.all(begun)
    begun.push(...SERVICES.map((name) => add(services, name, startServiceInTheEnd(name, env, place, either))))
    await Promise.all(begun)
    const urls = urlsOf(env, infrastructure)
    writeStackFile(STACK_FOLDER, { urls, pids: place.ledger.pids(), env })
    return { infrastructure, components: [...base, ...services], env, urls, [Symbol.asyncDispose]: stopAll }
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(begun)
    await stopAll()
    throw error
  } finally {
    clearInterval(telling)
  }
}

function startServiceInTheEnd(
  name: ServiceName,
  env: StackEnv,
  place: StackPlace,
  signal: AbortSignal,
): Promise<Component> {
  return startedInTheEnd(() => startService(name, env, place, signal), {
    failed: (reason) => progress.line(`${name} did not start and is started again: ${reason}`),
    signal,
  })
}

/**
 * On a slow machine a start takes minutes:
 * what is missing is said, so that nobody takes it for stuck.
 */
function tellWhatIsAwaited(): NodeJS.Timeout {
  return setInterval(() => {
    // A download says so itself.
    if (starting.size === 0 || performance.now() - fetching.until < SAY_EVERY_MS) return
    progress.line(`  ${seconds(progress.elapsedMs())}: waiting for ${[...starting].join(', ')}`)
  }, SAY_EVERY_MS)
}

interface Chosen {
  readonly ports: InfrastructureOptions['ports']
  readonly secrets: StackSecrets
  readonly securing: Securing | null
}

function infrastructureOptions(
  place: StackPlace,
  { ports, secrets, securing }: Chosen,
): InfrastructureOptions {
  return {
    ...place,
    ports,
    tokens: secrets.unleash,
    fsync: true,
    ...(securing === null ? {} : { securing }),
    progress: (line) => {
      fetching.until = performance.now()
      fetching.since ||= fetching.until
      progress.passing(line)
    },
    ready: (name, milliseconds) => {
      starting.delete(name)
      progress.done(name, milliseconds)
    },
  }
}

/** The folder of a stack as a person reads it. */
function shown({ folder }: StackPlace): string {
  return path.relative(REPOSITORY, folder)
}

async function stopSideBySide(components: readonly Component[]): Promise<void> {
  await Promise.all(components.map((component) => component.stop()))
}

function urlsOf(env: StackEnv, { unleash, registry }: Infrastructure): Record<string, string> {
  return {
    console: `http://127.0.0.1:${env['CONSOLE_PORT']}`,
    api: env['PUBLIC_URL'] ?? '',
    unleash: unleash.consoleUrl,
    registry: registry.url.replace('/apis/ccompat/v7', '/ui'),
    simulator: env['SIMULATOR_ADMIN_URL'] ?? '',
  }
}

function demoStack(stack: StartedStack, place: StackPlace): DemoStack {
  return {
    env: stack.env,
    unleash: stack.infrastructure.unleash,
    calstream: (args, cancel) => calstream(args, stack.env, place, cancel),
    pids: () => place.ledger.pids(),
    downloadMs: Number(process.env['CALSTREAM_INSTALL_MS'] ?? 0) + (fetching.until - fetching.since),
    readyMs: progress.elapsedMs(),
    say: (line) => progress.line(line),
  }
}

function eventsOf(stack: StartedStack, place: StackPlace): Parameters<typeof keepRunning>[1] {
  return {
    ended: ({ name }, how) =>
      progress.line(`${name} ended (${how}); it is started again. Log: ${shown(place)}/logs/${name}.log`),
    back: ({ name }) => {
      progress.line(`✓ ${name} is back`)
      writeStackFile(STACK_FOLDER, { urls: stack.urls, pids: place.ledger.pids(), env: stack.env })
    },
  }
}

async function timed<T>(name: string, work: Promise<T>): Promise<T> {
  const began = performance.now()
  starting.add(name)
  try {
    const result = await work
    progress.done(name, performance.now() - began)
    return result
  } finally {
    starting.delete(name)
  }
}

function beginStop(name: NodeJS.Signals): void {
  if (interrupt.signal.aborted) {
    if (performance.now() - stoppingSince > ONE_CTRL_C_MS) hurry.abort(new UserError('stopped at once'))
    return
  }
  stoppingSince = performance.now()
  progress.line(`Stopping (${name}) …`)
  interrupt.abort(new UserError('stopped'))
}
