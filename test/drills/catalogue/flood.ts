// FLOOD: strangers cost the ingress sockets, memory and time. Honest notifications run beside them.
import { readdirSync, readFileSync } from 'node:fs'
import {
  allOf,
  atMost,
  below,
  criterion,
  each,
  met,
  percentile,
  setUp,
  within,
  type Finding,
} from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { startFlood, type FloodReport, type FloodSpec } from '../faults/flood.ts'
import { channelTokenOf, notify, share } from '../faults/senders.ts'
import type { Ledgers, OwnRequest, ProcessSample } from '../ledgers/ledgers.ts'
import { liveMemory } from '../ledgers/live-memory.ts'

/** What Node may use for objects, and what the process may have resident. */
const HEAP_MB = 256
const RESIDENT = below(256, 'MB')
const ANSWERED = atMost(3_000, 'ms', '≤')
/** Silence costs 2 s, a slow request 3 s, last words 0.25 s; the rest is for a busy machine. */
const LET_GO = within(4_500)
/** A body has 1 s of grace, and 0.5 s until it is seen and told. Node's own limit comes at 3 s. */
const GIVEN_UP = within(2_800)
/** Defaults of INGRESS_CONNECTIONS_MAX and INGRESS_CONNECTIONS_PER_ADDRESS_MAX. */
const SOCKETS = atMost(2_000)
const OF_ONE = atMost(500)
/** Descriptors of a process come and go by so many: pools, the metrics' reader, the inspector. */
const OTHERS = atMost(40, undefined, 'up to')
const DESCRIPTORS_MORE = atMost(OTHERS.limit)
/** What is live after a garbage collection differs by so much from one rest to the next. */
const LIVE_MORE = atMost(16, 'MB')
const LINE_EVERY_MS = 10_000
/** The time of the waves is not cut where the lines are. */
const LINES_MORE = atMost(2)
const TAIL = 0.99
const MIDDLE = 0.5
const HONEST_EVERY_MS = 50
/** One honest notification in so many is a batch of this size. */
const LARGE_EVERY = 10
const LARGE_BYTES = 200_000
const MICROSOFT_WEBHOOK = '/api/webhooks/calendar/microsoft'

type Wave = Omit<FloodSpec, 'port'>

const WAVES: readonly Wave[] = [
  { kind: 'pipelined', sockets: 2_000, perSecond: 500, clients: 20 },
  { kind: 'silent', sockets: 3_000, perSecond: 1_000, clients: 1 },
  { kind: 'silent', sockets: 3_000, perSecond: 1_000, clients: 200 },
  { kind: 'half a head', sockets: 3_000, perSecond: 1_000, clients: 40 },
  { kind: 'announced', sockets: 3_000, perSecond: 1_000, clients: 40 },
  // Fewer than there are places. No sender has to give way, so FLOOD-5 tells of the rate alone.
  { kind: 'drip', sockets: 1_800, perSecond: 1_000, clients: 40 },
  { kind: 'nearly whole', sockets: 1_000, perSecond: 400, clients: 40 },
  { kind: 'nearly whole, large', sockets: 60, perSecond: 20, clients: 40 },
]

/** Of each wave, in the profile ci. */
const WAVE_MS = 5_000
const STRANGERS_MIN = 5_000

interface Past {
  readonly wave: Wave
  readonly report: FloodReport
  readonly honest: readonly OwnRequest[]
  readonly from: number
  readonly to: number
}

const flood: Drill = {
  id: 'FLOOD',
  title: 'Strangers flood the port: unread pipelines, silence, half requests, bodies that never end',
  report: 'ingress',
  criteria: {
    'FLOOD-1': criterion`The ingress never ends, with a heap of ${setUp(HEAP_MB, 'MB')}`,
    'FLOOD-2': criterion`Its resident memory stays ${RESIDENT}`,
    'FLOOD-3': criterion`Signed notifications of both vendors are accepted all the time, in each flood with ${percentile(TAIL)} ${ANSWERED}`,
    'FLOOD-4': criterion`Who sends nothing, a part of a head or a slow body is gone ${LET_GO} (${percentile(TAIL)}), though it does not close itself`,
    'FLOOD-5': criterion`Slow bodies that are read are given up ${GIVEN_UP} (${percentile(MIDDLE)})`,
    'FLOOD-6': criterion`An address has ${OF_ONE} sockets, all together ${SOCKETS}, counted as descriptors, of which ${OTHERS} are others`,
    'FLOOD-7': criterion`Back to rest: ${DESCRIPTORS_MORE} descriptors and ${LIVE_MORE} of live memory more than before`,
    'FLOOD-8': criterion`Sockets turned away are told in a log line each ${setUp(LINE_EVERY_MS, 'ms')}, and ${LINES_MORE} lines more in all`,
  },
  faults: ['W15', 'W17'],
  needsMachine: true,
  profiles: ['ci', 'full'],
  system: () => ({
    connections: 4,
    microsoft: 2,
    eventsPerCalendar: 10,
    latencyMs: 10,
    nodeOptions: { ingress: [`--max-old-space-size=${HEAP_MB}`] },
  }),
  invariants: ['I15', 'I17'],
  without: {
    // I20's bound of descriptors (checkers/keeping.ts) is lower than the places that this drill
    // fills.
    I20: `the ingress holds ${SOCKETS.limit} sockets here; FLOOD-2, FLOOD-6 and FLOOD-7 bound it`,
  },
  wallMs: 300_000,
  recoverWithinMs: 60_000,
  limits:
    'Loopback: strangers and honest senders share the processors with the ingress, and no line is full.',
  async run(d) {
    const before = await rest(d)
    const past: Past[] = []
    for (const wave of WAVES) {
      past.push(await outlast(d, wave))
      // Sockets of one wave are none of the next.
      await settled(d, before.descriptors)
    }
    await d.converged(60_000)
    const after = await rest(d)
    return ({ ledgers }) => {
      const samples = ledgers.samples.filter(({ instance }) => instance === 'ingress-1')
      return {
        criteria: {
          'FLOOD-1': neverEnded(ledgers),
          'FLOOD-2': residentOf(samples, past),
          'FLOOD-3': each(past, answered),
          'FLOOD-4': each(
            past.filter(({ wave }) => isSlow(wave)),
            letGo,
          ),
          'FLOOD-5': each(
            past.filter(({ wave }) => hasSlowBody(wave)),
            givenUp,
          ),
          'FLOOD-6': bounded(samples, past, before.descriptors),
          'FLOOD-7': atRest(before, after),
          'FLOOD-8': toldOnce(ledgers, past),
        },
        witnesses: [
          {
            name: 'strangers',
            need: STRANGERS_MIN,
            got: past.reduce((sum, { report }) => sum + report.opened, 0),
          },
        ],
        numbers: {
          strangers: past.reduce((sum, { report }) => sum + report.opened, 0),
          honest: past.reduce((sum, { honest }) => sum + honest.length, 0),
          p99Ms: Math.round(Math.max(...past.map(({ honest }) => p99(honest)))),
          waitedForProcessorPercent: Math.round(
            (100 * (after.waitedMs - before.waitedMs)) / (after.at - before.at),
          ),
          residentMb: Math.round(Math.max(...samples.map(({ rssMb }) => rssMb))),
        },
      }
    }
  },
}

/** One wave, with honest notifications of both vendors beside it from its beginning to its end. */
async function outlast(d: DrillRun, wave: Wave): Promise<Past> {
  const from = Date.now()
  const until = from + WAVE_MS * (d.profile === 'ci' ? 1 : 4)
  const port = Number(d.system.env['INGRESS_PORT'])
  const honest: Promise<OwnRequest>[] = []
  let report: FloodReport | null = null
  await d.strike(
    { fault: 'W17', action: `${wave.kind}, ${wave.clients} clients`, target: 'ingress' },
    async () => {
      const strangers = startFlood({ ...wave, port })
      while (Date.now() < until && !d.signal.aborted) {
        honest.push(one(d, honest.length))
        await d.lasting(HONEST_EVERY_MS)
      }
      report = await strangers.stop()
    },
  )
  if (report === null) throw new Error('a flood gave no report')
  const past = { wave, report, honest: await Promise.all(honest), from, to: Date.now() }
  d.say(`${wave.kind} of ${wave.clients}: ${answered(past).evidence}`)
  return past
}

let number = 1_000

function one(d: DrillRun, at: number): Promise<OwnRequest> {
  const isGoogle = at % 2 === 0
  const account = d.system.accounts.find(({ vendor }) => vendor === (isGoogle ? 'google' : 'microsoft'))
  if (!account) throw new Error('the drill needs an account of each vendor')
  const token = channelTokenOf(d, account)
  number += 1
  if (isGoogle) return notify(d, 'honest', { channel: 'drill-flood', number, token })
  const item = {
    subscriptionId: '7f105c7d-2dc5-4530-97cd-4e7ae6534c07',
    clientState: token,
    changeType: 'updated',
    resource: 'x'.repeat(at % LARGE_EVERY === 1 ? LARGE_BYTES : 100),
    resourceData: { '@odata.etag': `W/"${number}"` },
  }
  return d.request({
    what: 'honest',
    method: 'POST',
    path: MICROSOFT_WEBHOOK,
    // Every other one comes as a newcomer.
    headers: at % 4 === 1 ? { connection: 'close' } : {},
    body: JSON.stringify({ value: [item] }),
  })
}

interface Rest {
  readonly liveMb: number
  readonly descriptors: number
  readonly at: number
  /** How long the ingress was ready to run and others had the processors. */
  readonly waitedMs: number
}

async function rest(d: DrillRun): Promise<Rest> {
  const { pid } = d.system.one('ingress')
  const live = await liveMemory(d.system)
  const liveMb = live.find(({ instance }) => instance === 'ingress-1')?.mb ?? Number.NaN
  return { liveMb, descriptors: descriptorsOf(pid), at: Date.now(), waitedMs: waitedMsOf(pid) }
}

/** Of its main thread (docs.kernel.org/scheduler/sched-stats.html: the second field, in ns). */
function waitedMsOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
}

/** Linux only, as the samples are; elsewhere the drill is no proof of this. */
function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Kept-alive sockets of honest senders last 16 s; everything else is gone before. */
async function settled(d: DrillRun, descriptors: number): Promise<void> {
  const isBack = () => descriptorsOf(d.system.one('ingress').pid) <= descriptors + OTHERS.limit
  await d.until('the sockets are closed', isBack, 30_000).catch(() => undefined)
}

function p99(honest: readonly OwnRequest[]): number {
  return share(
    honest.map(({ latencyMs }) => latencyMs),
    TAIL,
  )
}

function answered({ wave, honest }: Past): Finding {
  const accepted = honest.filter(({ status }) => status === 202).length
  const others = [...new Set(honest.map(({ status }) => status))].filter((status) => status !== 202)
  const told = others.length > 0 ? `, others ${others.join()}` : ''
  return allOf(
    met(
      accepted === honest.length,
      `${wave.kind} (${wave.clients} clients): ${accepted} of ${honest.length} accepted${told}`,
    ),
    ANSWERED.judge(p99(honest), `p99 ${Math.round(p99(honest))} ms`),
  )
}

function isSlow({ kind }: Wave): boolean {
  return kind === 'silent' || kind === 'half a head' || kind === 'announced' || kind === 'drip'
}

function letGo({ wave, report: { lived } }: Past): Finding {
  const longest = share(lived, TAIL)
  return allOf(
    met(lived.length > 0, `${wave.kind} (${wave.clients} clients): ${lived.length} let go`),
    LET_GO.judge(longest, `p99 after ${Math.round(longest)} ms`),
  )
}

function hasSlowBody({ kind }: Wave): boolean {
  return kind === 'announced' || kind === 'drip'
}

function givenUp({ wave, report: { livedRead } }: Past): Finding {
  const median = share(livedRead, MIDDLE)
  return allOf(
    met(livedRead.length > 0, `${wave.kind}: ${livedRead.length} given up`),
    GIVEN_UP.judge(median, `half of them after ${Math.round(median)} ms`),
  )
}

function neverEnded(ledgers: Ledgers): Finding {
  const ends = ledgers.processes.filter(
    ({ instance, event }) => instance === 'ingress-1' && event === 'ended',
  )
  return met(ends.length === 0, `${ends.length} ends${ends.map(({ detail }) => `, ${detail}`).join('')}`)
}

function residentOf(samples: readonly ProcessSample[], past: readonly Past[]): Finding {
  const peaks = past.map(({ wave, from, to }) => ({
    wave,
    mb: peakOf(samples, from, to, ({ rssMb }) => rssMb),
  }))
  return allOf(
    met(samples.length > 0, `${samples.length} samples`),
    RESIDENT.judge(
      Math.max(...peaks.map(({ mb }) => mb)),
      peaks.map(({ wave, mb }) => `${wave.kind} ${Math.round(mb)} MB`).join(', '),
    ),
  )
}

function bounded(samples: readonly ProcessSample[], past: readonly Past[], before: number): Finding {
  const counts = past.map(({ wave: { clients }, from, to }) => {
    const most = peakOf(samples, from, to, ({ descriptors }) => descriptors) - before
    return { clients, most, places: Math.min(SOCKETS.limit, clients * OF_ONE.limit) }
  })
  const told = counts.map(({ clients, most, places }) => `${clients} clients had ${most} of ${places}`)
  const worst = (figures: readonly number[]) => Math.max(...figures)
  const over = worst(counts.map(({ most, places }) => most - places))
  const ofOne = worst(counts.map(({ clients, most }) => (most - OTHERS.limit) / clients))
  const all = worst(counts.map(({ most }) => most - OTHERS.limit))
  return allOf(
    OTHERS.judge(over, told.join('; ')),
    OF_ONE.judge(ofOne, `without ${OTHERS.limit} others ${Math.ceil(ofOne)} of an address`),
    SOCKETS.judge(all, `${all} in all`),
  )
}

function peakOf(
  samples: readonly ProcessSample[],
  from: number,
  to: number,
  of: (sample: ProcessSample) => number,
): number {
  return Math.max(0, ...samples.filter(({ at }) => at >= from && at <= to).map(of))
}

function atRest(before: Rest, after: Rest): Finding {
  return allOf(
    DESCRIPTORS_MORE.judge(
      after.descriptors - before.descriptors,
      `descriptors ${before.descriptors} → ${after.descriptors}`,
    ),
    LIVE_MORE.judge(
      after.liveMb - before.liveMb,
      `live ${before.liveMb.toFixed(1)} → ${after.liveMb.toFixed(1)} MB`,
    ),
  )
}

function toldOnce(ledgers: Ledgers, past: readonly Past[]): Finding {
  const lines = ledgers.logs.filter(({ fields }) => fields?.['msg'] === 'sockets were turned away').length
  const ms = (past.at(-1)?.to ?? 0) - (past[0]?.from ?? 0)
  return allOf(
    met(lines > 0, `${lines} lines`),
    LINES_MORE.judge(lines - Math.ceil(ms / LINE_EVERY_MS), `in ${Math.round(ms / 1000)} s`),
  )
}

export const FLOODS: readonly Drill[] = [flood]
