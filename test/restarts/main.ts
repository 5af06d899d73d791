// `npm run restarts`: every `npm start` on data of an earlier one ends in "equal",
// however the earlier one ended. Its arguments: main.usage.txt. Ten rounds of a minute
// take about twenty minutes.
import { parseArgs } from 'node:util'
import { explain, UserError } from '#shared/process/user-error.ts'
import { parsedOrUsage, wholeNumber } from '../../infra/stack/usage.ts'
import { openFreshClone } from '../support/fresh-clone.ts'
import { describeRound, type Ending, restartRounds } from '../support/restart-rounds.ts'
import { killRun, openRunFolder, removeRunFolder } from '../support/test-run.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const options = parsedOrUsage(import.meta.filename, process.argv.slice(2), optionsOf)
const folder = await openRunFolder()
process.once('exit', () => killRun(folder))
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130))
try {
  await using clone = openFreshClone(folder)
  const endings = Array.from({ length: options.rounds }, (_, index): Ending => {
    return index % 2 === 0 ? 'ctrl-c' : 'kill -9'
  })
  const rounds = await restartRounds(clone, {
    ...options,
    endings,
    say: (index, round) => say(describeRound(index, round)),
  })
  say(`${rounds.length} of ${options.rounds} starts ended in "equal".`)
} catch (error) {
  say(explain(error instanceof Error ? new UserError(error.message) : error))
  process.exitCode = 1
} finally {
  await removeRunFolder(folder)
}

function optionsOf(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '10' },
      load: { type: 'string', default: '60' },
      'changes-per-second': { type: 'string', default: '20' },
      connections: { type: 'string', default: '20' },
    },
  })
  return {
    rounds: wholeNumber('rounds', values.rounds, { max: 1_000 }),
    loadMs: wholeNumber('load', values.load, { max: 3_600 }) * 1_000,
    changesPerSecond: wholeNumber('changes-per-second', values['changes-per-second'], { max: 1_000 }),
    args: ['--connections', String(wholeNumber('connections', values.connections, { max: 99 }))],
  }
}
