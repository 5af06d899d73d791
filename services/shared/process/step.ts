// Steps: named moments whose order matters. Each is an event of the running span, and a place at
// which a drill may let the process die. Invariant: without CALSTREAM_CRASH_AT no step stops
// anything; with it, one acts once, at its n-th passage.
//
// CALSTREAM_CRASH_AT=<point>[:<n>][:kill|block] (n counts from 1; kill, the default, is SIGKILL
// to oneself: nothing is flushed, closed or rolled back, as in a power cut; block stops the
// event loop for 12 s, longer than a Kafka session). It is for drills only: who can set a
// process's environment can end the process anyway, so it opens no door, and a start with it
// says so on standard error.
import { writeSync } from 'node:fs'
import { trace } from '@opentelemetry/api'
import { crashAtSetting } from './settings.ts'

/** By service. */
export const STEPS = [
  'ingress.before-publish',
  'ingress.published',
  'ingress.held',
  'sync.claimed',
  'sync.before-fetch',
  'sync.fetched',
  'sync.planned',
  'sync.fenced',
  'sync.rows-written',
  'sync.outbox-written',
  'sync.place-saved',
  'sync.before-commit',
  'sync.page-committed',
  'sync.sweep-before-commit',
  'sync.sweep-committed',
  'sync.read-restarted',
  'sync.failure-before-commit',
  'sync.failure-committed',
  'sync.held',
  'sync.handed-over',
  'sync.buried',
  'sync.before-offset-commit',
  'sync.offset-committed',
  'relay.producer-opened',
  'relay.rows-read',
  'relay.published',
  'relay.deleted',
  'retry.taken-in',
  'retry.before-ring',
  'retry.rung',
  'scheduler.held-rung',
  'scheduler.sweep-rung',
  'scheduler.reconcile-rung',
  'scheduler.repair-before-commit',
] as const
export type Step = (typeof STEPS)[number]

const BLOCK_MS = 12_000
const setting = crashAtSetting()
let passed = 0

if (setting !== null)
  writeSync(2, `crash point armed: ${setting.point}, passage ${setting.nth}, ${setting.action}\n`)

/** Says that this step was reached. A drill may have armed it. */
export function step(point: Step): void {
  trace.getActiveSpan()?.addEvent(point)
  if (setting === null || setting.point !== point) return
  passed += 1
  if (passed !== setting.nth) return
  writeSync(2, `crash point met: ${point}, passage ${passed}, ${setting.action}\n`)
  if (setting.action === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCK_MS)
  else process.kill(process.pid, 'SIGKILL')
}
