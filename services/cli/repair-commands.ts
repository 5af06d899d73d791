// The commands of repairs, as the command line knows them.
import type { Command } from 'commander'
import { DEFAULT_RATES, type RepairKind } from '#shared/domain/repair.ts'
import type { Output } from './output.ts'
import type { RepairOptions } from './repair.ts'

const WHAT: Readonly<Record<RepairKind, string>> = {
  sync_now: 'ask for a sync now, whatever the backoff',
  full_read: 'read every calendar from the start; the events stay meanwhile',
  pause: 'keep connections from being synced until they are resumed; works whatever the gates say',
  resume: 'let paused connections be synced again, and catch up',
  probe: 'ask the vendor whether parked connections are let in again',
  replay_dead_letters: 'put sync requests that were given up back into their topics',
}

const HELP = `
What is named narrows, all of it together. An empty filter is refused: --all means every one.
The scheduler does the work, batch by batch, at the rate. It continues after a restart; calstream repairs
list, show and abort are about it. Limits of vendors hold whatever the rate.`

interface How {
  readonly output: () => Output
  readonly settings: () => Promise<NodeJS.ProcessEnv>
}

const SHORT = [
  ['sync', 'sync_now', 'ask for a sync of this one now, whatever its backoff'],
  ['pause', 'pause', 'keep this one from being synced until it is resumed'],
  ['resume', 'resume', 'let this one be synced again, and catch up'],
] as const

/** Adds `connections sync|pause|resume <id>`: a repair of one, followed to its end. */
export function addShortRepairs(connections: Command, { output, settings }: How): void {
  for (const [name, kind, what] of SHORT)
    connections
      .command(`${name} <id>`)
      .description(what)
      .option('--by <name>', 'who asks, for the audit; your user name if left out')
      .action(async (connection: string, options: { by?: string }) => {
        const { repair } = await import('./repair.ts')
        await repair(kind, { ...options, connection, follow: true }, await settings(), output())
      })
}

/** Adds `repair <kind>` and `repairs list|show|abort`. */
export function addRepairCommands(program: Command, { output, settings }: How): void {
  const repair = program.command('repair').description('do one thing to many connections, at a gentle rate')
  for (const [kind, what] of Object.entries(WHAT) as [RepairKind, string][])
    addKind(repair, kind, what).action(async (options: RepairOptions) =>
      (await import('./repair.ts')).repair(kind, options, await settings(), output()),
    )
  const repairs = program
    .command('repairs')
    .description('what was asked for with calstream repair, and how far it is')
  repairs
    .command('list')
    .description('those that run, then the youngest')
    .option('--limit <n>', 'how many', '50')
    .action(async (options: { limit: string }) =>
      (await import('./repair.ts')).listRepairs(options, await settings(), output()),
    )
  repairs
    .command('show <id>')
    .description('one of them')
    .option('--follow', 'tell of it until it ends')
    .action(async (id: string, options: { follow?: boolean }) =>
      (await import('./repair.ts')).showRepair(id, options, await settings(), output()),
    )
  repairs
    .command('abort <id>')
    .description('end it where it is; what was done stays done')
    .option('--by <name>', 'who ends it, for the audit')
    .action(async (id: string, options: { by?: string }) =>
      (await import('./repair.ts')).endRepair(id, options, await settings(), output()),
    )
}

function addKind(repair: Command, kind: RepairKind, what: string): Command {
  const command = repair
    .command(kind.replaceAll('_', '-'))
    .description(what)
    .option('--connection <id>', 'this connection alone')
    .option('--provider <id>', 'only those of this provider')
    .option('--vendor <name>', 'only those of google or microsoft')
    .option('--since <when>', 'only those whose trouble began then or later: an instant, or an age like 6h')
    .option('--all', 'every one')
    .option('--rate <n>', 'how many a second', String(DEFAULT_RATES[kind]))
    .option('--dry-run', 'say how many it would be about, and how long it would take')
    .option('--follow', 'tell of it until it ends')
    .option('--by <name>', 'who asks, for the audit; your user name if left out')
    .addHelpText('after', HELP)
  if (kind !== 'replay_dead_letters')
    return command
      .option('--state <state>', 'only those that are so: retrying, late, needs_reauth …')
      .option(
        '--cause <code>',
        'only those with this cause of `calstream why`: backing_off, held_mass_delete …',
      )
  return command
    .option('--code <code>', 'only those that were given up with this failure code')
    .option(
      '--anyway',
      'also those that no reader understood: each becomes another dead letter unless a reader learned to',
    )
}
