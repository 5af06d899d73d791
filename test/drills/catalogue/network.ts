// Bad lines between the parts.
import { criterion, noted } from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { badLine, resetOnce } from '../faults/lines.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const lines: Drill = {
  id: 'LINES',
  title: 'Bad lines: half-open, reset, slow, sliced, narrow, to each dependency',
  report: 'infrastructure',
  criteria: {
    'LINES.1': criterion`Every wait ends: no process hangs, none dies`,
    'LINES.2': criterion`Nothing lost, doubled or reordered`,
  },
  faults: ['N1', 'N2', 'N3', 'N4', 'N5', 'N6', 'N10'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { stack, lines: own } = d.system
    const all = { postgres: stack.lines.postgres, kafka: stack.lines.kafka, vendor: own.vendor }
    const calm = steadyLoad(d, 20)
    const badMs = d.profile === 'ci' ? 2_500 : 4_000
    let faults = 0
    for (const [target, line] of Object.entries(all)) {
      await resetOnce(d, { fault: 'N2', action: 'reset', target, line })
      await d.lasting(1_500)
      const halfOpen = await badLine(d, { fault: 'N4', action: 'half-open', target, line }, { mute: 'both' })
      await d.lasting(7_000)
      await halfOpen.heal()
      await d.lasting(2_000)
      const slow = await badLine(
        d,
        { fault: 'N5', action: '+200 ms and jitter', target, line },
        { latencyMs: 200, jitterMs: 100 },
      )
      await d.lasting(badMs)
      await slow.heal()
      const narrow = await badLine(
        d,
        { fault: 'N6', action: 'sliced, 40 kB/s', target, line },
        { sliceBytes: 64, bytesPerSecond: 40_000 },
      )
      await d.lasting(badMs)
      await narrow.heal()
      faults += 4
    }
    // Kafka away, Postgres there; then the other way round.
    const away = await badLine(
      d,
      { fault: 'N10', action: 'refused', target: 'kafka only', line: all.kafka },
      { down: true },
    )
    await d.lasting(4_000)
    await away.heal()
    const other = await badLine(
      d,
      { fault: 'N10', action: 'refused', target: 'postgres only', line: all.postgres },
      { down: true },
    )
    await d.lasting(4_000)
    await other.heal()
    await calm()
    const recovered = await d.converged(120_000)
    return ({ holds }) => ({
      criteria: {
        'LINES.1': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
        'LINES.2': holds('I1', 'I3', 'I4', 'I8'),
      },
      witnesses: [{ name: 'faults of lines', need: 12, got: faults }],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

export const NETWORK: readonly Drill[] = [lines]
