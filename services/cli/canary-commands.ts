// The commands of canaries, as the command line knows them.
import type { Command } from 'commander'
import type { Output } from './output.ts'

interface How {
  readonly output: () => Output
  readonly settings: () => Promise<NodeJS.ProcessEnv>
}

/** Adds `canary add|remove <connection>` and `canary list`. */
export function addCanaryCommands(program: Command, { output, settings }: How): void {
  const canary = program
    .command('canary')
    .description('calendars that change once a minute, to see whether the change comes back')
  canary
    .command('list')
    .description('each canary, and which leg of its way is dead')
    .action(async () => (await import('./canary.ts')).listCanaries(await settings(), output()))
  for (const [verb, what] of [
    ['add', 'change an event of its own calendar once a minute; its grant has to allow writing events'],
    ['remove', 'change it no more'],
  ] as const)
    canary
      .command(`${verb} <connection>`)
      .description(what)
      .action(async (id: string) =>
        (await import('./canary.ts')).setCanary(verb, id, await settings(), output()),
      )
}
