// The command `calstream`: runs the services and operates them. Every command ends with 0 when it did what it says, and
// loads only what it needs: a relay must not pay for the vendors' SDKs in memory.
import { Command, CommanderError } from 'commander'
import { ConfigError } from '#shared/platform/env.ts'
import { Failure } from '#shared/domain/failure.ts'
import { SERVICES, withLocalStack } from './config.ts'
import type { DeadLetterOptions } from './dead-letters.ts'
import { complain, createOutput } from './output.ts'

const env = withLocalStack(process.env)
const program = new Command('calstream')
  .description('Keeps calendars in Postgres and publishes every change as an ordered stream on Kafka.')
  .option('--json', 'print results as JSON')
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
const output = () => createOutput(program.opts<{ json?: boolean }>().json === true)

for (const name of SERVICES) {
  program
    .command(name)
    .description(`run the ${name} service`)
    .action(async () => (await import('./run-services.ts')).runService(name, env))
}
program
  .command('all')
  .description('run the five services in one process, for small installs')
  .action(async () => (await import('./run-services.ts')).runAll(env))

program
  .command('migrate')
  .description('bring the tables up to date; sets role passwords from CALSTREAM_ROLE_PASSWORDS_FILE if given')
  .action(async () => (await import('./prepare.ts')).prepareTables(env, output()))

const topics = program.command('topics').description('the topics of infra/kafka/topics.json')
topics
  .command('apply')
  .description('create what is missing, then verify')
  .action(async () => (await import('./prepare.ts')).prepareTopics('apply', env, output()))
topics
  .command('verify')
  .description('compare partitions and policies; changes nothing')
  .action(async () => (await import('./prepare.ts')).prepareTopics('verify', env, output()))

const schemas = program.command('schemas').description('the message schemas of schemas/messages')
schemas
  .command('apply')
  .description('register every schema (BACKWARD_TRANSITIVE)')
  .action(async () => (await import('./prepare.ts')).prepareSchemas('apply', env, output()))
schemas
  .command('verify')
  .description('check that every schema is registered; changes nothing')
  .action(async () => (await import('./prepare.ts')).prepareSchemas('verify', env, output()))

program
  .command('toggles')
  .description('the toggles that the gates ask')
  .command('apply')
  .description(
    'make missing toggles at the flag server (UNLEASH_ADMIN_TOKEN); what an operator switched stays',
  )
  .action(async () => (await import('./prepare.ts')).prepareToggles(env, output()))

program
  .command('token')
  .description('print a bearer token for the API, signed with API_JWT_SECRET')
  .option('--provider <id>', 'for this provider')
  .option('--operator', 'with the operator scope instead')
  .option('--expires <duration>', 'for example 15m or 8h', '1h')
  .action(async (options: { provider?: string; operator?: boolean; expires: string }) =>
    (await import('./token.ts')).printToken(options, env, output()),
  )

const connections = program.command('connections').description('the connected accounts')
connections
  .command('add')
  .description(
    'connect accounts by refresh tokens, one a line, read from standard input or CALSTREAM_REFRESH_TOKEN',
  )
  .requiredOption('--provider <id>', 'the provider it belongs to (uuid)')
  .option('--vendor <name>', 'google', 'google')
  .action(async (options: { provider: string; vendor: string }) =>
    (await import('./connections.ts')).addConnection(options, env, output()),
  )
connections
  .command('list')
  .description('connections, those in trouble first')
  .option('--limit <n>', 'how many', '100')
  .action(async (options: { limit: string }) =>
    (await import('./connections.ts')).showConnections(options, env, output()),
  )

const letters = program
  .command('dead-letters')
  .description('records that were given up, and putting them back')
const collect = (value: string, before: readonly string[] = []) => [...before, value]
const FILTER = 'name=value of code, vendor, topic, connection; may be given several times'
letters
  .command('list')
  .description('the index, oldest first')
  .option('--filter <name=value>', FILTER, collect)
  .option('--all', 'with those that came back already')
  .option('--limit <n>', 'how many', '100')
  .action(async (options: DeadLetterOptions) =>
    (await import('./dead-letters.ts')).listLetters(options, env, output()),
  )
letters
  .command('show <id>')
  .description('one of them, by partition/offset, with headers and bytes')
  .action(async (id: string) => (await import('./dead-letters.ts')).showLetter(id, env, output()))
letters
  .command('replay [ids...]')
  .description('put doorbells back into their topics, with their own bytes; safe to repeat')
  .option('--filter <name=value>', FILTER, collect)
  .option('--all', 'all that did not come back yet')
  .option('--force', 'also those that came back already')
  .option('--dry-run', 'say what would be done')
  .addHelpText(
    'after',
    `
What is put back is a doorbell and no more: whether anything is read for it is decided when it is claimed.
A notification whose delivery key is recorded is dropped there, since a unit has answered it, and so is any
ring of a connection that backs off, which is tried again at the end of its backoff anyway. A connection
that does not back off is read again when a sync is asked for: POST /api/calendar/sync.`,
  )
  .action(
    async (ids: readonly string[], options: DeadLetterOptions & { dryRun?: boolean; force?: boolean }) =>
      (await import('./dead-letters.ts')).replayLetters(ids, options, env, output()),
  )

const keys = program.command('keys').description('the keys that stored credentials are sealed with')
keys
  .command('rotate')
  .description(
    'seal every stored credential with the first key of CREDENTIALS_KEYS; safe while everything runs, may be stopped and repeated',
  )
  .option('--dry-run', 'open everything and count; change nothing')
  .action(async (options: { dryRun?: boolean }) =>
    (await import('./keys.ts')).rotateKeys({ dryRun: options.dryRun === true }, env, output()),
  )

program
  .command('doctor')
  .description('check every dependency and say what to do when one is red')
  .action(async () => (await import('./doctor.ts')).runDoctor(env, output()))
program
  .command('status')
  .description('connections, backlog and freshness on one screen')
  .action(async () => (await import('./status.ts')).showStatus(env, output()))
program
  .command('reset')
  .description('delete the data of the local stack in this folder (.calstream)')
  .action(async () => {
    const { resetStack } = await import('../../infra/local/reset.ts')
    await resetStack()
    output().line('The local stack is empty; npm start begins afresh.')
  })

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = explain(error)
}

/** One line for a person; a stack only for what should not have happened. Returns the exit code. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode
  if (error instanceof ConfigError || error instanceof Failure) complain(error.message)
  else if (error instanceof Error && error.name === 'Problem') complain(error.message)
  else complain(error instanceof Error ? (error.stack ?? error.message) : String(error))
  return 1
}
