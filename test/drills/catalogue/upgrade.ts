// UPGRADE: the next version beside this one, under load, and the way back. The next version is a
// copy of the tree with one more file of schemas/sql; a third one takes away what that file added.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { knownFiles } from '#shared/store/table-set.ts'
import { criterion, met, noted } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { calstream } from '../environment/command.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import { copyTree } from '../environment/tree.ts'
import { steadyLoad } from './background.ts'

const NEXT = '000998'
const CONTRACT = '000999'
const ASK_MS = 3_000

const upgrade: Drill = {
  id: 'UPGRADE',
  title: 'The next version beside this one: tables migrated under load, processes replaced, and the way back',
  report: 'processes',
  criteria: {
    'UPGRADE.1': criterion`Nothing is lost, doubled or torn while both versions run side by side`,
    'UPGRADE.2': criterion`Tables are migrated under load, and every process of the version before stays ready on them`,
    'UPGRADE.3': criterion`The version before is started again on newer tables; where something was taken away it refuses in words and is not ready`,
  },
  faults: ['P12', 'P6'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 10 : 60,
    eventsPerCalendar: 20,
    latencyMs: 40,
    processes: { sync: 2, relay: 2 },
  }),
  invariants: ['I10', 'I15', 'I16', 'I17', 'I24'],
  wallMs: 400_000,
  recoverWithinMs: 90_000,
  limits: 'The two versions differ in their files of schemas/sql alone: there is no earlier release yet.',
  async run(d) {
    const besideMs = d.profile === 'ci' ? 4_000 : 30_000
    await d.system.vendor.admin('POST', '/admin/notifications', {
      retryOnConnectionError: true,
      retryAttemptsMax: 12,
    })
    using trees = openTrees(d)
    const before = [...d.system.services]
    const calm = steadyLoad(d, 25)
    await d.lasting(1_000)
    const migrated = await calstream(d.system, ['migrate'], trees.next)
    const readyAfter = await readyOf(before)
    const next = await replace(d, before.filter(isFirst), trees.next)
    await d.lasting(besideMs)
    const back = await calstream(d.system, ['migrate'])
    for (const service of next) await service.stop()
    for (const service of before.filter(isFirst)) await service.restart(AbortSignal.timeout(60_000))
    const readyBack = await readyOf(before)
    await calm()
    const recovered = await d.converged(90_000)
    const contracted = await calstream(d.system, ['migrate'], trees.contract)
    const refused = await calstream(d.system, ['migrate'])
    const readyOnContract = await readyOf(before.filter(({ service }) => service !== 'retry'))
    return ({ ledgers, holds }) => ({
      criteria: {
        'UPGRADE.1': noted(holds('I1', 'I3', 'I4', 'I24'), `rest ${Math.round(recovered)} ms after the load`),
        'UPGRADE.2': met(
          migrated.code === 0 && migrated.stdout.includes(NEXT) && readyAfter === before.length,
          `migrate ended with ${migrated.code}; ${readyAfter} of ${before.length} processes were ready on the newer tables`,
        ),
        'UPGRADE.3': met(
          back.code === 0 &&
            back.stdout.includes('which works with them') &&
            readyBack === before.length &&
            contracted.code === 0 &&
            refused.code === 1 &&
            refused.stderr.includes(CONTRACT) &&
            readyOnContract === 0,
          `back: code ${back.code}, ${readyBack} of ${before.length} ready; after the contract: code ${refused.code}, ${readyOnContract} ready, ${refused.stderr.trim().slice(0, 120)}`,
        ),
      },
      witnesses: [
        { name: 'processes of the next version', need: 5, got: next.length },
        {
          name: 'changes meanwhile',
          need: 150,
          got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
        },
      ],
    })
  },
}

/** Of two processes of a service the first: the other one stays, beside the next version. */
function isFirst({ instance }: ServiceProcess): boolean {
  return instance.endsWith('-1')
}

/** Each in turn: the one of before stops, one of the other tree takes its place. */
async function replace(
  d: DrillRun,
  before: readonly ServiceProcess[],
  tree: string,
): Promise<readonly ServiceProcess[]> {
  const started: ServiceProcess[] = []
  await d.strike(
    { fault: 'P12', action: 'replaced by the next version', target: 'one of each service' },
    async () => {
      for (const service of before) {
        await service.stop()
        started.push(await d.system.start(service.service, undefined, tree))
      }
    },
  )
  return started
}

/** How many say that they are ready. */
async function readyOf(processes: readonly ServiceProcess[]): Promise<number> {
  const answers = await Promise.all(
    processes.map(({ adminUrl }) =>
      fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(ASK_MS) }).then(
        ({ ok }) => ok,
        () => false,
      ),
    ),
  )
  return answers.filter(Boolean).length
}

interface Trees extends Disposable {
  readonly next: string
  readonly contract: string
}

/** Copies of the tree that is drilled, with one and with two more files of schemas/sql. */
function openTrees({ system }: DrillRun): Trees {
  const newest = knownFiles().at(-1)?.slice(0, NEXT.length) ?? ''
  const files = {
    [`${NEXT}_next.sql`]: `-- Up Migration\n-- compatible-with: ${newest}\nalter table external_calendar_events add column note text;\n`,
    [`${CONTRACT}_contract.sql`]: `-- Up Migration\n-- compatible-with: ${NEXT}\n-- contract-of: ${NEXT}\nalter table external_calendar_events drop column note;\n`,
  }
  const make = (count: number) => {
    const tree = mkdtempSync(path.join(tmpdir(), 'calstream-upgrade-'))
    copyTree(system.tree, tree)
    for (const [name, text] of Object.entries(files).slice(0, count))
      writeFileSync(path.join(tree, 'schemas', 'sql', name), text)
    return tree
  }
  const [next, contract] = [make(1), make(2)]
  return {
    next,
    contract,
    [Symbol.dispose]: () => {
      for (const tree of [next, contract]) rmSync(tree, { recursive: true, force: true })
    },
  }
}

export const UPGRADES: readonly Drill[] = [upgrade]
