// The command `calstream`: runs the services and operates them. Every command ends with 0
// when it did what it says, and loads only what it needs: a relay must not pay for the
// vendors' SDKs in memory.
import { Command, CommanderError } from 'commander'
import type { AclsOptions } from './acls.ts'
import type { AllowOptions } from './allow.ts'
import { completionScript, HOW_TO_LOAD } from './completion.ts'
import { installation, SERVICES, serviceSettings } from './config.ts'
import type { ListOptions } from './connections.ts'
import type { InitOptions } from './init.ts'
import type { DeadLetterOptions, ReplayOptions } from './dead-letters.ts'
import { complain, createOutput } from './output.ts'
import { patiently, type WaitOption } from './patience.ts'
import { addCanaryCommands } from './canary-commands.ts'
import { addRepairCommands, addShortRepairs } from './repair-commands.ts'
import type { RepublishOptions } from './republish.ts'
import { takeProxy } from '#shared/process/settings.ts'
import { explain, UserError } from '#shared/process/user-error.ts'
import { VERSION } from '#shared/process/version.ts'
import type { TailOptions } from './tail.ts'
import type { TokenOptions } from './token.ts'

const program = new Command('calstream')
  .description('Keeps calendars in Postgres and publishes every change as an ordered stream on Kafka.')
  .option('--json', 'print results as JSON')
  .version(VERSION, '-V, --version')
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(calstream --help lists the commands, and --help after a command its options.)')
  .exitOverride()
const output = () => createOutput(program.opts<{ json?: boolean }>().json === true)
/** The installation's settings; a UserError says so when there is none. */
const settings = () => installation(process.env)
const collect = (value: string, before: readonly string[] = []) => [...before, value]

for (const name of SERVICES) {
  program
    .command(name)
    .description(`run the ${name} service`)
    .action(async () =>
      (await import('./run-services.ts')).runService(name, await serviceSettings(process.env)),
    )
}
program
  .command('all')
  .description('run all services in one process, for small installs')
  .action(async () => (await import('./run-services.ts')).runAll(await serviceSettings(process.env)))

program
  .command('init')
  .description('write .env and .secrets for docker compose, with every secret; writes nothing over')
  .option('--play', 'for play vendors (profile `play`)')
  .option('--public-url <address>', 'where vendors and browsers reach the ingress, for example https://…')
  .option('--role-prefix <prefix>', 'what the names of the database roles begin with', 'calstream_')
  .option('--folder <path>', 'where docker-compose.yml lies', '.')
  .action(async (options: InitOptions) => (await import('./init.ts')).init(options, output()))
program
  .command('health')
  .description('whether the service in this container is ready (ADMIN_PORT); ends with 0 or 1')
  .action(async () => {
    process.exitCode = await (await import('./health.ts')).health(process.env)
  })

const WAIT = ['--wait <seconds>', 'try again for so long while it does not answer', '0'] as const
program
  .command('migrate')
  .description('bring the tables up to date; sets role passwords from CALSTREAM_ROLE_PASSWORDS_FILE if given')
  .option(...WAIT)
  .action(async ({ wait }: WaitOption) => {
    const { prepareTables } = await import('./prepare.ts')
    const [env, told] = [await settings(), output()]
    await patiently(wait, () => prepareTables(env, told))
  })

const topics = program.command('topics').description('the topics of schemas/topics.json')
const schemas = program.command('schemas').description('the message schemas of schemas/messages')
for (const [verb, ofTopics, ofSchemas] of [
  ['apply', 'create what is missing, then verify', 'register every schema (BACKWARD_TRANSITIVE)'],
  [
    'verify',
    'compare partitions and policies; changes nothing',
    'check that every schema is registered; changes nothing',
  ],
] as const) {
  topics
    .command(verb)
    .description(ofTopics)
    .option(...WAIT)
    .action(async ({ wait }: WaitOption) => {
      const { prepareTopics } = await import('./prepare.ts')
      const [env, told] = [await settings(), output()]
      await patiently(wait, () => prepareTopics(verb, env, told))
    })
  schemas
    .command(verb)
    .description(ofSchemas)
    .option(...WAIT)
    .action(async ({ wait }: WaitOption) => {
      const { prepareSchemas } = await import('./prepare.ts')
      const [env, told] = [await settings(), output()]
      await patiently(wait, () => prepareSchemas(verb, env, told))
    })
}

const acls = program
  .command('acls')
  .description("the rights of calstream's users on Kafka, schemas/acls.json")
for (const [verb, description] of [
  ['print', 'show them with KAFKA_PREFIX; asks no broker'],
  ['apply', 'give what is missing, then verify'],
  ['verify', 'say what is missing and what is more than needed; changes nothing'],
] as const) {
  acls
    .command(verb)
    .description(description)
    .option(
      '--principal <user=principal>',
      "Kafka's own name of a user, as calstream-sync=User:CN=sync; may be given several times",
      collect,
    )
    .action(async (options: AclsOptions) =>
      (await import('./acls.ts')).runAcls(verb, options, await settings(), output()),
    )
}

program
  .command('toggles')
  .description('the toggles that the gates ask')
  .command('apply')
  .description(
    'make missing toggles at the flag server (UNLEASH_ADMIN_TOKEN); what an operator switched stays',
  )
  .option(...WAIT)
  .action(async ({ wait }: WaitOption) => {
    const { prepareToggles } = await import('./prepare.ts')
    const [env, told] = [await settings(), output()]
    await patiently(wait, () => prepareToggles(env, told))
  })

program
  .command('allow')
  .description('let providers or connections in: put them on the allowlists (UNLEASH_ADMIN_TOKEN)')
  .option('--provider <id>', 'this provider; may be given several times', collect)
  .option('--connection <id>', 'this connection; may be given several times', collect)
  .option('--everybody', 'every provider and every connection; the lists are forgotten')
  .option('--remove', 'take them off instead; with --everybody: no one is let in')
  .addHelpText(
    'after',
    `
A connection is synced when CALENDAR_SYNC_ENABLED is on, its provider is let in and it is let in itself.
Connecting an account needs its provider and CALENDAR_OAUTH_ENABLED. Services follow within 2 s.`,
  )
  .action(async (options: AllowOptions) =>
    (await import('./allow.ts')).allow(options, await settings(), output()),
  )

const gates = program.command('gates').description('the six toggles that decide what runs, and for whom')
gates
  .command('list')
  .description('each gate as the services read it')
  .action(async () => (await import('./allow.ts')).listGates(await settings(), output()))
for (const verb of ['open', 'close'] as const) {
  gates
    .command(`${verb} <name>`)
    .description(
      `switch a toggle ${verb === 'open' ? 'on' : 'off'}, for example CALENDAR_SYNC_ENABLED (UNLEASH_ADMIN_TOKEN)`,
    )
    .action(async (name: string) =>
      (await import('./allow.ts')).switchGate(verb, name, await settings(), output()),
    )
}

program
  .command('token')
  .description('print a bearer token for the API and the console, signed with API_JWT_SECRET')
  .option('--provider <id>', 'for this provider')
  .option('--operator', 'with the operator scope instead; it signs in at the console too')
  .option('--viewer', 'for the console alone, to read and change nothing')
  .option('--name <who>', 'whose token it is; the console notes it with what they do')
  .option('--expires <duration>', 'for example 15m or 8h', '1h')
  .action(async (options: TokenOptions) =>
    (await import('./token.ts')).printToken(options, await settings(), output()),
  )

const connections = program.command('connections').description('the connected accounts')
connections
  .command('add')
  .description(
    'connect accounts by refresh tokens, one a line, read from standard input or CALSTREAM_REFRESH_TOKEN',
  )
  .requiredOption('--provider <id>', 'the provider it belongs to (uuid)')
  .option('--vendor <name>', 'google or microsoft', 'google')
  .action(async (options: { provider: string; vendor: string }) =>
    (await import('./add-connection.ts')).addConnection(options, await settings(), output()),
  )
connections
  .command('list')
  .description('connections, the worst first')
  .option(
    '--state <state>',
    'only those: needs_reauth, retrying, late, partly_in_sync, paused, in_sync …; may be repeated',
    collect,
  )
  .option(
    '--cause <cause>',
    'only those that this keeps from being up to date: late, throttled … (docs/why.md)',
  )
  .option('--vendor <name>', 'only those of google or microsoft')
  .option('--provider <id>', 'only those of this provider')
  .option('--limit <n>', 'how many', '100')
  .action(async (options: ListOptions) =>
    (await import('./connections.ts')).showConnections(options, await settings(), output()),
  )
connections
  .command('show <id>')
  .description('one connection with its calendars: how each is, and what to do')
  .action(async (id: string) =>
    (await import('./connections.ts')).showConnection(id, await settings(), output()),
  )
addShortRepairs(connections, { output, settings })

program
  .command('tail')
  .description('print the records of the stream as they come, decoded; Ctrl-C ends it')
  .option('--topic <name>', 'changed, state or connections', 'changed')
  .option('--connection <id>', 'only those of this connection')
  .option('--from <where>', 'latest, or beginning for all that is kept', 'latest')
  .option('--limit <n>', 'end after so many')
  .action(async (options: TailOptions) =>
    (await import('./tail.ts')).tail(options, await settings(), output()),
  )

const letters = program
  .command('dead-letters')
  .description('records that were given up, and putting them back')
const FILTER = 'name=value of code, vendor, topic, connection; may be given several times'
letters
  .command('list')
  .description('the index, oldest first')
  .option('--filter <name=value>', FILTER, collect)
  .option('--all', 'with those that came back already')
  .option('--limit <n>', 'how many', '100')
  .action(async (options: DeadLetterOptions & { limit: string }) =>
    (await import('./dead-letters.ts')).listLetters(options, await settings(), output()),
  )
letters
  .command('show <id>')
  .description('one of them, by partition/offset, with headers and bytes')
  .action(async (id: string) =>
    (await import('./dead-letters.ts')).showLetter(id, await settings(), output()),
  )
letters
  .command('replay [ids...]')
  .description('put sync requests back into their topics, with their own bytes; safe to repeat')
  .option('--filter <name=value>', FILTER, collect)
  .option('--all', 'all that did not come back yet')
  .option('--force', 'also those that came back already')
  .option(
    '--anyway',
    'also those that no reader understood: each becomes another dead letter unless a reader learned to',
  )
  .option('--dry-run', 'say what would be done')
  .addHelpText(
    'after',
    `
What is put back is a sync request and no more: whether anything is read for it is decided when it is claimed.
A notification whose delivery key is recorded is dropped there, since a unit has answered it, and so is any
sync request of a connection that backs off, which is tried again at the end of its backoff anyway. A connection
that does not back off is read again when a sync is asked for: POST /api/calendar/sync.`,
  )
  .action(async (ids: readonly string[], options: ReplayOptions) =>
    (await import('./dead-letters.ts')).replayLetters(ids, options, await settings(), output()),
  )
letters
  .command('dismiss <ids...>')
  .description('take them off the index for good; their bytes stay in the topic as long as it keeps them')
  .action(async (ids: readonly string[]) =>
    (await import('./dead-letters.ts')).dismissLetters(ids, await settings(), output()),
  )

addRepairCommands(program, { output, settings })
addCanaryCommands(program, { output, settings })

const keys = program.command('keys').description('the keys that stored credentials are sealed with')
keys
  .command('rotate')
  .description(
    'seal every stored credential with the first key of CREDENTIALS_KEYS; safe while everything runs, may be stopped and repeated',
  )
  .option('--dry-run', 'open everything and count; change nothing')
  .action(async (options: { dryRun?: boolean }) =>
    (await import('./keys.ts')).rotateKeys({ dryRun: options.dryRun === true }, await settings(), output()),
  )

program
  .command('after-restore')
  .description(
    'services stopped: make a database that was restored to an earlier moment continue where the topics end',
  )
  .action(async () => (await import('./after-restore.ts')).afterRestore(await settings(), output()))
program
  .command('republish')
  .description('publish every stored event again, after the topics were lost; services may run')
  .option('--connection <id>', 'only those of this connection')
  .action(async (options: RepublishOptions) =>
    (await import('./republish.ts')).republish(options, await settings(), output()),
  )

program
  .command('doctor')
  .description('check every dependency and service, and say what to do when one is red')
  .option('--restored', 'also whether a restored database continues where the topics end')
  .action(async (options: { restored?: boolean }) =>
    (await import('./doctor.ts')).runDoctor(await settings(), output(), options.restored === true),
  )
program
  .command('status')
  .description('what is not well, the worst first; then connections, backlog, freshness, services and gates')
  .action(async () => (await import('./status.ts')).showStatus(await settings(), output()))
program
  .command('why <connection>')
  .description('why an account is not up to date, until when, and who can do what: its id, address or name')
  .action(async (text: string) => (await import('./why.ts')).showWhy(text, await settings(), output()))
program
  .command('completion <shell>')
  .description('print what bash, zsh or fish needs to complete this command')
  .addHelpText('after', () => HOW_TO_LOAD)
  .action((shell: string) => void process.stdout.write(completionScript(program, shell)))
program
  .command('reset')
  .description('delete the data of the local stack in this folder (.calstream); on a clone alone')
  .action(() => {
    // On a clone infra/dev/calstream.mjs takes this command before it comes here.
    throw new UserError('There is no local stack here. In a clone: npx calstream reset.')
  })

// The reader of our output may stop reading: `| head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

try {
  takeProxy()
  // After a command too, as --help is.
  const asksVersion = process.argv.slice(2).includes('--version')
  await (asksVersion ? program.parseAsync(['--version'], { from: 'user' }) : program.parseAsync())
} catch (error) {
  process.exitCode = error instanceof CommanderError ? error.exitCode : 1
  // Commander has said its own already.
  if (!(error instanceof CommanderError)) complain(explain(error))
}
// What a part that does not answer still owes us (a socket, a timer) keeps no one waiting; a
// service says itself when it is done.
if (!['all', ...SERVICES].includes(program.args[0] ?? '')) process.exit()
