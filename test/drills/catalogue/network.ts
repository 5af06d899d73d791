// Bad lines between the parts, and the flag server gone.
import type { Drill } from '../drill.ts'
import { allOf, met } from '../drill.ts'
import { badLine, resetOnce } from '../faults/lines.ts'
import { isReady } from '../faults/processes.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const lines: Drill = {
  id: 'LINES',
  title: 'Bad lines: half-open, reset, slow, sliced, narrow, to each dependency',
  report: 'infrastructure',
  criteria: {
    'LINES.1': 'Every wait ends: no process hangs, none dies',
    'LINES.2': 'Nothing lost, doubled or reordered',
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
      await d.lasting(4_000)
      await slow.heal()
      const narrow = await badLine(
        d,
        { fault: 'N6', action: 'sliced, 40 kB/s', target, line },
        { sliceBytes: 64, bytesPerSecond: 40_000 },
      )
      await d.lasting(4_000)
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
        'LINES.1': allOf(livedThrough(d), met(true, `rest ${Math.round(recovered)} ms`)),
        'LINES.2': holds('I1', 'I3', 'I4', 'I8'),
      },
      witnesses: [{ name: 'faults of lines', need: 12, got: faults }],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

const flagServer: Drill = {
  id: 'UNLEASH',
  title: 'The flag server is away, hangs, restarts: gates fail closed within 30 s and heal by themselves',
  report: 'infrastructure',
  criteria: {
    'UNLEASH.1': 'Short silences change nothing',
    'UNLEASH.2': 'After 30 s without an answer no unit starts and webhooks get 503 with Retry-After',
    'UNLEASH.3': 'Everything heals by itself and is caught up',
  },
  faults: ['F5', 'F8'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 10 : 40, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  limits: 'A 401 and an empty list of toggles are covered by the integration tests of the gates.',
  async run(d) {
    const { unleash: line } = d.system.stack.lines
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 14 })
    const calm = steadyLoad(d, 15)
    const short = await badLine(
      d,
      { fault: 'F5', action: 'refused 8 s', target: 'unleash', line },
      { down: true },
    )
    await d.lasting(8_000)
    const readyMeanwhile = await Promise.all(d.system.services.map((service) => isReady(service)))
    await short.heal()
    const hung = await badLine(d, { fault: 'F8', action: 'hangs', target: 'unleash', line }, { mute: 'both' })
    const closedAfter = await d.until(
      'the ingress says that it cannot know',
      async () => !(await isReady(d.system.one('ingress'))) && !(await isReady(d.system.one('sync'))),
      40_000,
    )
    const from = Date.now()
    await d.lasting(6_000)
    const to = Date.now()
    await hung.heal()
    await d.until('the gates are known again', () => isReady(d.system.one('ingress')), 20_000)
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const started = ledgers.calls.filter(
        ({ start, path }) => path.endsWith('/events') && start > from + 1_000 && start < to,
      ).length
      const answers = ledgers.webhooks.filter(
        ({ at, status }) => at > from + 500 && at < to && status !== undefined,
      )
      const unavailable = answers.filter(({ status }) => status === 503).length
      return {
        criteria: {
          'UNLEASH.1': met(readyMeanwhile.every(Boolean), 'every process ready through 8 s of refusals'),
          'UNLEASH.2': met(
            closedAfter <= 33_000 && started === 0 && unavailable === answers.length,
            `closed ${Math.round(closedAfter)} ms after the last answer; ${started} calls began; ${unavailable} of ${answers.length} notifications answered 503`,
          ),
          'UNLEASH.3': allOf(
            holds('I1', 'I15'),
            livedThrough(d),
            met(true, `rest ${Math.round(recovered)} ms`),
          ),
        },
        witnesses: [{ name: 'notifications while nothing was known', need: 5, got: answers.length }],
        numbers: { closedAfterMs: Math.round(closedAfter), recoveryMs: Math.round(recovered) },
      }
    }
  },
}

export const NETWORK: readonly Drill[] = [lines, flagServer]
