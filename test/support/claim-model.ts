// A connection with its calendars, in memory: the claim's rules, the end's rules and the heap of
// retry are the real ones; what Postgres, Kafka and the vendor would do beside them is a few lines
// here. Time is a number that the test moves.
import { backoffMs, calendarBackoffMs } from '#shared/domain/backoff.ts'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { calendarId, connectionId, providerId, type CalendarId } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import type { ClaimedConnection } from '#shared/store/connections.ts'
import type { RequestReason, SyncRequested } from '#schemas/messages.gen.ts'
import { DueHeap, type Waiting } from '../../services/retry/due-heap.ts'
import { subjectOf } from '../../services/retry/intake.ts'
import { isIll, isOwedNow, judgeClaim, type Verdict } from '../../services/sync/unit/claim-rules.ts'
import { judgeEnd } from '../../services/sync/unit/end.ts'
import { UNTROUBLED } from './untroubled.ts'

export const SECOND = 1_000_000
const DEAD_LETTER_AT = 12
const HOUR_MS = 3_600_000

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type Row = Mutable<CalendarRow>

/** What a calendar is like at the vendor, and what of it has been read. */
export interface Truth {
  vendor: 'well' | 'ill' | 'refused'
  changedAt: number
  readAt: number
}

/** How a unit stops before its end, and after how many calendars. */
export interface Stop {
  readonly kind: 'hand-over' | 'hold' | 'crash'
  readonly after: number
}

interface Scheduled extends Waiting {
  readonly reason: 'retry' | 'continue' | 'recheck'
  readonly calendarId: CalendarId | null
}

interface UnitOf {
  readonly verdict: Extract<Verdict, { kind: 'run' }>
  readonly requests: readonly SyncRequested[]
  readonly done: Set<CalendarId>
  readonly failed: Map<CalendarId, Failure>
}

export class ClaimModel {
  now = 1_000_000 * SECOND
  account: 'well' | 'throttled' | 'failing' = 'well'
  isGateOpen = true
  readonly connection: Mutable<ClaimedConnection>
  readonly rows = new Map<CalendarId, Row>()
  readonly truth = new Map<CalendarId, Truth>()
  readonly #heap = new DueHeap<Scheduled>()
  readonly #random: () => number
  readonly #keys = new Set<string>()
  #lane: SyncRequested[] = []
  readonly #late: number[] = []
  #isHeld = false
  #wakeAt = 0
  #updatedAt = 0
  #made = 0
  readonly #rungAt = new Map<string, number>()

  constructor(calendars: number, random: () => number) {
    this.#random = random
    this.connection = {
      connectionId: connectionId('0197a000-0000-7000-8000-00000000000c'),
      providerId: providerId('0197a000-0000-7000-8000-00000000000d'),
      vendor: 'google',
      status: 'active',
      syncNeeded: false,
      errorCount: 0,
      failures: 0,
      failingSince: null,
      backoffUntil: null,
      isAllIll: false,
      epoch: 1,
      unfinished: 1,
      listedFrom: this.now,
      now: this.now,
    }
    for (let n = 0; n < calendars; n += 1) this.addCalendar()
  }

  addCalendar(): void {
    this.#made += 1
    const id = calendarId(`0197a000-0000-7000-8000-${String(this.#made).padStart(12, '0')}`)
    this.rows.set(id, {
      ...UNTROUBLED,
      calendarId: id,
      vendorCalendarId: String(this.#made),
      cursor: 'c',
      checkpoint: null,
      generation: 1,
      lastFullSync: this.now,
      sweepBelow: null,
      resyncAfter: null,
      resyncStreak: 0,
      isUnlisted: false,
    } as Row)
    this.truth.set(id, { vendor: 'well', changedAt: this.now, readAt: 0 })
    this.ring('reconcile', null)
  }

  removeCalendar(id: CalendarId): void {
    this.rows.delete(id)
    this.truth.delete(id)
    this.connection.epoch += 1
  }

  /** Somebody changes an event; the vendor rings, perhaps twice. */
  change(id: CalendarId, copies: number): void {
    const truth = this.truth.get(id)
    if (truth === undefined || this.connection.status !== 'active') return
    truth.changedAt = this.now
    const deliveryKey = `k${this.now}-${id}`
    for (let n = 0; n < copies; n += 1) this.ring('webhook', id, { deliveryKey })
  }

  ring(reason: RequestReason, id: CalendarId | null, more: Partial<SyncRequested> = {}): void {
    const { connectionId: connection, providerId: provider } = this.connection
    const asOf = reason === 'api' || reason === 'held' ? this.now : null
    this.#lane.push({
      connectionId: connection,
      providerId: provider,
      vendor: 'google',
      reason,
      calendarId: id,
      deliveryKey: null,
      asOf,
      requestedAt: this.now,
      ...more,
    })
    this.#wakeAt = 0
  }

  disconnect(): void {
    Object.assign(this.connection, { ...WELL, status: 'disconnected', listedFrom: null })
    for (const row of this.rows.values()) Object.assign(row, UNTROUBLED)
    this.#isHeld = false
    this.connection.epoch += 1
  }

  connect(): void {
    Object.assign(this.connection, { ...WELL, status: 'active', syncNeeded: true })
    for (const row of this.rows.values()) Object.assign(row, UNTROUBLED)
    this.connection.epoch += 1
    this.#updatedAt = this.now
    for (const truth of this.truth.values()) truth.readAt = 0
    this.ring('connected', null)
  }

  /**
   * Somebody changes an event and no notification comes;
   * an app asks for a look, whose ring is a while on its way.
   */
  ask(id: CalendarId | undefined): void {
    const truth = id === undefined ? undefined : this.truth.get(id)
    if (truth !== undefined && this.connection.status === 'active') truth.changedAt = this.now
    this.#late.push(this.now)
    this.now += SECOND
  }

  /**
   * Time goes on; retry and, if it is to, the sweep and the held requests ring.
   * `earlyS`: how much retry's clock is ahead.
   */
  pass(seconds: number, { earlyS = 0, sweeps = true } = {}): void {
    this.now += seconds * SECOND
    for (const asOf of this.#late.splice(0)) this.ring('api', null, { asOf })
    if (!this.isGateOpen) return
    for (const due of this.#heap.takeDue(this.now + earlyS * SECOND, 1000))
      this.ring(due.reason, due.calendarId, due.reason === 'recheck' ? { asOf: due.dueAt } : {})
    if (this.#isHeld) this.ring('held', null)
    this.#isHeld = false
    if (sweeps) this.#sweep()
  }

  /**
   * Works what is in the lane, with at most one unit.
   * @returns what was wrong with the claim; null when nothing was.
   */
  work(stop: Stop | null): string | null {
    if (this.#lane.length === 0 || this.now < this.#wakeAt) return null
    const requests = this.#lane
    const calendars = [...this.rows.values()].map((row) => ({ ...row }))
    const connection = { ...this.connection, now: this.now }
    const closedGate = this.isGateOpen ? null : 'CALENDAR_SYNC_ENABLED'
    const verdict = judgeClaim({ connection, calendars, requests, recordedKeys: this.#keys, closedGate })
    const problem = this.#problemOf(verdict, requests)
    if (verdict.kind === 'early') {
      this.#wakeAt = this.now + verdict.waitMs * 1000
      return problem
    }
    this.#lane = []
    if (verdict.kind === 'held') this.#isHeld = true
    if (verdict.kind === 'run')
      this.#run({ verdict, requests, done: new Set(), failed: new Map() }, calendars, stop)
    return problem
  }

  /** What is owed or unread, in words; empty when nothing is. */
  unfinished(): readonly string[] {
    if (this.connection.status !== 'active') return []
    const owed = [...this.rows.values()].filter(({ readNeeded, failures }) => readNeeded || failures > 0)
    const unread = [...this.truth].filter(([, { readAt, changedAt }]) => readAt < changedAt)
    return [
      ...(this.connection.syncNeeded ? ['the connection owes a read'] : []),
      ...(this.connection.backoffUntil === null ? [] : ['the connection has a backoff left']),
      ...owed.map(({ vendorCalendarId }) => `calendar ${vendorCalendarId} owes a read`),
      ...unread.map(([id]) => `a change of ${id} was not read`),
    ]
  }

  /** A ring of a calendar that is well is read at once, and nothing is read before its time. */
  #problemOf(verdict: Verdict, requests: readonly SyncRequested[]): string | null {
    const scope = new Set(verdict.kind === 'run' ? verdict.scope.map((row) => row.calendarId) : [])
    const { status, isAllIll, backoffUntil } = this.connection
    const isOpen = status === 'active' && this.isGateOpen && (isAllIll || (backoffUntil ?? 0) <= this.now)
    for (const row of this.rows.values()) {
      const rang = requests.some(({ reason, calendarId: id, deliveryKey }) => {
        if (reason === 'webhook') return id === row.calendarId && !this.#keys.has(deliveryKey ?? '')
        return reason === 'reconcile' && id === null
      })
      if (isOpen && rang && !isIll(row) && !scope.has(row.calendarId))
        return `a ring of ${row.vendorCalendarId}, which is well, was answered by ${verdict.kind}`
      if (scope.has(row.calendarId) && (row.backoffUntil ?? 0) > this.now)
        return `${row.vendorCalendarId} is read before its time`
    }
    return null
  }

  #run(unit: UnitOf, calendars: readonly CalendarRow[], stop: Stop | null): void {
    const startedAt = this.now
    this.connection.epoch += 1
    for (const [place, { calendarId: id }] of unit.verdict.scope.entries()) {
      if (stop !== null && place >= stop.after) return this.#stop(unit, calendars, stop)
      if (this.account !== 'well') return this.#failAccount(unit)
      this.#read(unit, id)
    }
    this.#end(unit, calendars, startedAt)
  }

  #read({ done, failed }: UnitOf, id: CalendarId): void {
    const truth = this.truth.get(id)
    const row = this.rows.get(id)
    if (truth === undefined || row === undefined) return
    if (truth.vendor === 'well') {
      truth.readAt = this.now
      Object.assign(row, UNTROUBLED)
      done.add(id)
    } else {
      failed.set(id, new Failure(truth.vendor === 'ill' ? 'vendor/unavailable' : 'vendor/call-refused'))
    }
  }

  #stop(unit: UnitOf, calendars: readonly CalendarRow[], { kind }: Stop): void {
    if (kind === 'crash') {
      this.#lane.unshift(...unit.requests)
      return
    }
    this.#saveIll(unit)
    if (kind === 'hold') {
      this.#isHeld = true
      return
    }
    const rest = unit.verdict.scope.filter(({ calendarId: id }) => !unit.done.has(id) && !unit.failed.has(id))
    if (this.connection.syncNeeded || rest.length === calendars.length) this.#markDirty()
    else
      for (const { calendarId: id } of rest)
        Object.assign(this.rows.get(id)!, { readNeeded: true, backoffUntil: null })
    this.#answer(unit)
    this.#schedule('continue', null, this.now)
    this.#ringEarly(unit)
  }

  #failAccount(unit: UnitOf): void {
    const code = this.account === 'throttled' ? 'vendor/throttled' : 'vendor/token-refused'
    this.#failConnection(code, false)
    this.#saveIll(unit)
    this.#answer(unit)
  }

  #end(unit: UnitOf, calendars: readonly CalendarRow[], startedAt: number): void {
    const { verdict, failed } = unit
    const end = judgeEnd({ calendars, scope: verdict.scope, failed, putOff: new Set(), left: new Set() })
    if (end.kind === 'all-ill') {
      const until = this.#failConnection(end.failure.code, true)
      for (const [id, failure] of failed) this.#saveStreak(id, failure, until)
      for (const row of this.rows.values())
        if (isIll(row)) row.backoffUntil = Math.max(row.backoffUntil ?? 0, until)
      return this.#answer(unit)
    }
    if (end.kind === 'well' && end.isListed)
      Object.assign(this.connection, { ...WELL, listedFrom: startedAt })
    this.#saveIll(unit)
    this.#answer(unit)
    if (verdict.isNotified && this.#random() < 0.3) this.#schedule('recheck', null, this.now + 20 * SECOND)
    this.#ringEarly(unit)
  }

  #failConnection(code: FailureCode, isAllIll: boolean): number {
    const { connection } = this
    connection.failures += 1
    if (settlementOf({ code }).countsAsAttempt) connection.errorCount += 1
    const waitMs = backoffMs({ attempt: connection.failures, floorMs: 0, random: this.#random() })
    const isGivenUp = connection.errorCount >= DEAD_LETTER_AT
    const until = this.now + (isGivenUp ? Math.max(HOUR_MS, waitMs) : waitMs) * 1000
    Object.assign(connection, { syncNeeded: true, backoffUntil: until, isAllIll })
    this.#updatedAt = this.now
    if (!isGivenUp) this.#schedule('retry', null, until)
    return until
  }

  #saveIll({ failed }: UnitOf): void {
    const random = this.#random()
    for (const [id, failure] of failed) {
      const attempt = (this.rows.get(id)?.failures ?? 0) + 1
      const until = this.now + calendarBackoffMs({ attempt, floorMs: 0, random }) * 1000
      this.#saveStreak(id, failure, until)
      this.#schedule('retry', id, until)
    }
  }

  #saveStreak(id: CalendarId, failure: Failure, until: number): void {
    const row = this.rows.get(id)
    if (row === undefined) return
    Object.assign(row, { readNeeded: true, failures: row.failures + 1, backoffUntil: until })
    row.lastCode = failure.code
  }

  #ringEarly({ verdict }: UnitOf): void {
    for (const { calendarId: id, backoffUntil } of verdict.early)
      this.#schedule('retry', id, Math.max(backoffUntil ?? 0, this.now))
  }

  #markDirty(): void {
    const { isAllIll, backoffUntil } = this.connection
    Object.assign(this.connection, { syncNeeded: true, backoffUntil: isAllIll ? backoffUntil : null })
    this.#updatedAt = this.now
  }

  #answer({ requests }: UnitOf): void {
    for (const { deliveryKey } of requests) if (deliveryKey !== null) this.#keys.add(deliveryKey)
  }

  #schedule(reason: Scheduled['reason'], id: CalendarId | null, dueAt: number): void {
    const { connectionId: connection } = this.connection
    const subject = subjectOf({ connectionId: connection, calendarId: id, reason })
    this.#heap.offer({ subject, epoch: this.connection.epoch, dueAt, reason, calendarId: id })
  }

  #sweep(): void {
    const { status, syncNeeded, backoffUntil } = this.connection
    if (status !== 'active') return
    const isOver = (at: number) => at < this.now - 30 * SECOND
    if (syncNeeded && isOver(backoffUntil ?? this.#updatedAt)) this.#sweepRing('all', null)
    if (syncNeeded) return
    for (const row of this.rows.values())
      if (isOwedNow(row, this.now) && isOver(row.backoffUntil ?? this.#updatedAt))
        this.#sweepRing(row.calendarId, row.calendarId)
  }

  #sweepRing(name: string, id: CalendarId | null): void {
    if ((this.#rungAt.get(name) ?? 0) > this.now - 60 * SECOND) return
    this.#rungAt.set(name, this.now)
    this.ring('sweep', id)
  }
}

/** A connection that owes nothing. */
const WELL = {
  syncNeeded: false,
  errorCount: 0,
  failures: 0,
  failingSince: null,
  backoffUntil: null,
  isAllIll: false,
}
