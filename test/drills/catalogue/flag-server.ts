// UNLEASH: everything that the flag server can do to its clients. Invariant: what is not known for
// 30 s is not done. No restart is needed afterwards.
import { OFF_WITHIN_MS } from '../checkers/switches.ts'
import { allOf, criterion, each, met, named, noted, setUp, within, type Finding } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { answeredInstead, badLine, partAway } from '../faults/lines.ts'
import { everySees } from '../faults/gates.ts'
import { isReady } from '../faults/processes.ts'
import { channelTokenOf, notify, toldToComeAgain } from '../faults/senders.ts'
import type { Ledgers, OwnRequest } from '../ledgers/ledgers.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

/** The promise: what is not known for so long is not done. */
const UNKNOWN_MS = 30_000
/** What the drill's own looks may take beyond that. */
const SEEN_WITHIN = within(3_000)
const CLOSED_WITHIN_MS = UNKNOWN_MS + SEEN_WITHIN.limit
/** Processes that poll; each asks twice a second. */
const POLLING = 4
const SWITCH = 'CALENDAR_SYNC_ENABLED'

const flagServer: Drill = {
  id: 'UNLEASH',
  title: `The flag server answers 401, 503, an empty list, nothing, and restarts: gates fail closed after ${UNKNOWN_MS / 1_000} s and heal by themselves`,
  report: 'infrastructure',
  criteria: {
    'UNLEASH.1': criterion`Short silences, a ${named(401)} and a restart change nothing, and the next flip is seen`,
    'UNLEASH.2': criterion`${setUp(UNKNOWN_MS, 'ms')} after the last answer, seen ${SEEN_WITHIN}, no unit starts and webhooks get ${named(503)} with Retry-After`,
    'UNLEASH.3': criterion`Everything heals by itself and is caught up`,
    'UNLEASH.4': criterion`An empty list of toggles closes every gate`,
  },
  faults: ['F5', 'F6', 'F8', 'F9'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 10 : 40, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: [...USUAL, 'I11', 'I13'],
  wallMs: 1_200_000,
  recoverWithinMs: 120_000,
  limits:
    'Profile ci plays one silence of 40 s, by a server that hangs; full adds one of 10 min, by answers of 503.',
  async run(d) {
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 14 })
    const calm = steadyLoad(d, 15)
    const unchanged = await shortTrouble(d)
    const empty = await emptyList(d)
    const silences = [await silence(d, 'hang')]
    if (d.profile === 'full') silences.push(await silence(d, '503'))
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const told = silences.map((one) => ({ ...one, ...during(ledgers, one) }))
      const late = callsWhile(ledgers, empty.from + OFF_WITHIN_MS, empty.to)
      return {
        criteria: {
          'UNLEASH.1': met(
            unchanged.every(({ ok }) => ok),
            unchanged
              .map(({ what, ok }) => `${what}: ${ok ? 'ready, next flip seen' : 'not ready'}`)
              .join('; '),
          ),
          'UNLEASH.2': each(told, closedInTime),
          'UNLEASH.3': noted(
            allOf(holds('I1', 'I13', 'I15'), livedThrough(d)),
            `rest ${Math.round(recovered)} ms after the load`,
          ),
          'UNLEASH.4': allOf(
            met(late === 0, `${late} listings began while the list was empty`),
            holds('I11', 'I17'),
          ),
        },
        witnesses: [
          {
            name: 'notifications while nothing was known',
            need: 5,
            got: Math.min(...told.map(({ answers }) => answers)),
          },
          {
            name: 'notifications while the list was empty',
            need: 5,
            got: answersWhile(ledgers, empty.from + OFF_WITHIN_MS, empty.to).length,
          },
          { name: 'kinds of short trouble', need: 3, got: unchanged.length },
        ],
        numbers: {
          closedAfterMs: Math.round(Math.max(...told.map(({ closedMs }) => closedMs))),
          recoveryMs: Math.round(recovered),
        },
      }
    }
  },
}

/**
 * Trouble that ends before a client has to give up. Each carries the proof that polling continued.
 */
async function shortTrouble(
  d: DrillRun,
): Promise<readonly { readonly what: string; readonly ok: boolean }[]> {
  const { unleash: line } = d.system.stack.lines
  const seen: { what: string; ok: boolean }[] = []
  const check = async (what: string, ok: boolean) => seen.push({ what, ok: ok && (await flipIsSeen(d)) })
  const denied = await answeredInstead(d, {
    fault: 'F6',
    action: 'answers 401 to everybody once or twice',
    target: 'unleash',
    line,
    answer: http('401 Unauthorized', '{}'),
    minAnswers: POLLING,
  })
  const readyMeanwhile = await everybodyReady(d)
  await denied.heal()
  await check('401', readyMeanwhile)
  const refused = await badLine(
    d,
    { fault: 'F5', action: 'refused 8 s', target: 'unleash', line },
    { down: true },
  )
  await d.lasting(8_000)
  const readyStill = await everybodyReady(d)
  await refused.heal()
  await check('refused', readyStill)
  const { unleash } = d.system.stack
  const restarted = await partAway(d, {
    fault: 'F5',
    how: 'stop',
    part: unleash,
    isUp: () => answers(unleash.url),
  })
  const readyWithout = await everybodyReady(d)
  await restarted.heal()
  await check('restarted', readyWithout)
  return seen
}

async function emptyList(d: DrillRun): Promise<{ readonly from: number; readonly to: number }> {
  const { gates, stack } = d.system
  const empty = await answeredInstead(d, {
    fault: 'F9',
    action: 'an empty list of toggles',
    target: 'unleash',
    line: stack.lines.unleash,
    answer: http('200 OK', '{"version":2,"features":[]}'),
    minAnswers: POLLING,
  })
  gates.told(false)
  const from = Date.now()
  await d.until('every process sees the switch off', () => everySees(d, [SWITCH], 0), 10_000)
  await d.lasting(OFF_WITHIN_MS + 4_000)
  const to = Date.now()
  await empty.heal()
  gates.told(true)
  await d.until('the gates are open again', () => everySees(d, [SWITCH], 1), 20_000)
  return { from, to }
}

interface Silence {
  readonly kind: 'hang' | '503'
  readonly closedMs: number
  /** While nothing was known. */
  readonly from: number
  readonly to: number
  readonly lastedMs: number
  /** The vendors do not note what else an answer says than its status. */
  readonly own: OwnRequest
}

/** Longer than a gate may go without an answer. */
async function silence(d: DrillRun, kind: Silence['kind']): Promise<Silence> {
  const { unleash: line } = d.system.stack.lines
  const lastsMs = kind === '503' ? 600_000 : 40_000
  const began = Date.now()
  const fault =
    kind === 'hang'
      ? await badLine(d, { fault: 'F8', action: 'hangs', target: 'unleash', line }, { mute: 'both' })
      : await answeredInstead(d, {
          fault: 'F5',
          action: 'answers 503 for 10 min',
          target: 'unleash',
          line,
          answer: http('503 Service Unavailable', ''),
          minAnswers: POLLING,
        })
  const closedMs = await d.until(
    'ingress and sync say that they cannot know',
    async () => !(await isReady(d.system.one('ingress'))) && !(await isReady(d.system.one('sync'))),
    40_000,
  )
  // A process on an overloaded machine may call itself not ready before its gates close.
  const from = Math.max(Date.now(), began + CLOSED_WITHIN_MS)
  await d.lasting(from + 500 - Date.now())
  const token = channelTokenOf(d, d.system.accounts[0]!)
  const own = await notify(d, 'one by hand', { channel: `drill-${kind}`, number: 2, token })
  await d.lasting(Math.max(from + 6_000, began + lastsMs) - Date.now())
  const to = Date.now()
  await fault.heal()
  await d.until('the gates are known again', () => everybodyReady(d), 20_000)
  return { kind, closedMs, from, to, lastedMs: to - began, own }
}

function during(ledgers: Ledgers, { from, to }: Silence) {
  const answered = answersWhile(ledgers, from + 500, to)
  return {
    calls: callsWhile(ledgers, from + 1_000, to),
    answers: answered.length,
    unavailable: answered.filter(({ status }) => status === 503).length,
  }
}

function closedInTime(one: Silence & ReturnType<typeof during>): Finding {
  const { kind, closedMs, lastedMs, calls, unavailable, answers: answered, own } = one
  return allOf(
    SEEN_WITHIN.judge(
      closedMs - UNKNOWN_MS,
      `${kind} for ${Math.round(lastedMs / 1_000)} s: closed ${Math.round(closedMs)} ms after the last answer`,
    ),
    met(
      calls === 0 && unavailable === answered,
      `${calls} calls began, ${unavailable} of ${answered} notifications answered 503`,
    ),
    toldToComeAgain(own),
  )
}

function callsWhile({ calls }: Ledgers, from: number, to: number): number {
  return calls.filter(({ start, path }) => path.endsWith('/events') && start > from && start < to).length
}

function answersWhile({ webhooks }: Ledgers, from: number, to: number) {
  return webhooks.filter(({ at, status }) => at > from && at < to && status !== undefined)
}

/** A switch is thrown and back, and every process follows: each still polls. */
async function flipIsSeen(d: DrillRun): Promise<boolean> {
  for (const [on, value] of [
    [false, 0],
    [true, 1],
  ] as const) {
    await d.system.gates.set(SWITCH, on)
    await d.until(
      `every process sees ${SWITCH} ${on ? 'on' : 'off'}`,
      () => everySees(d, [SWITCH], value),
      15_000,
    )
  }
  return true
}

async function everybodyReady({ system }: DrillRun): Promise<boolean> {
  return (await Promise.all(system.services.map((service) => isReady(service)))).every(Boolean)
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(new URL('../health', `${url}/`), { signal: AbortSignal.timeout(1_000) })
    return response.ok
  } catch {
    return false
  }
}

function http(status: string, body: string): string {
  return [
    `HTTP/1.1 ${status}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body,
  ].join('\r\n')
}

export const FLAG_SERVER: readonly Drill[] = [flagServer]
