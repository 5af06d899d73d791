// Seeded bugs in the sync service, as lines of the list.

/** [id, what, file, find, replace, drill, profile] */
export type Line = readonly [string, string, string, string, string, string, ('smoke' | 'ci')?]

const SYNC = 'services/sync/'
const UNIT = `${SYNC}unit/`

export const SYNC_BUGS: readonly Line[] = [
  [
    'offset-before-effect',
    'An offset is done as soon as its record is read',
    `${SYNC}intake.ts`,
    '    accept: (delivery) => lanes.add(queuedRequest(delivery)),\n',
    '    accept: (delivery) => (delivery.receipt.done(), lanes.add(queuedRequest(delivery))),\n',
    'KILL',
  ],
  [
    'outbox-outside',
    'Messages are written outside of the transaction of their rows',
    `${UNIT}persist-page.ts`,
    '      tx,\n      eventsChanged(unit.connection,',
    '      deps.db,\n      eventsChanged(unit.connection,',
    'OUT-2',
  ],
  [
    'cursor-first',
    'The cursor is saved in a transaction of its own, before its rows',
    `${UNIT}persist-page.ts`,
    'await saveCursor(write.tx, calendarId',
    'await saveCursor(deps.db, calendarId',
    'OUT-2',
  ],
  [
    'items-swallowed',
    'Of a page only the first two changes are stored',
    `${UNIT}persist-page.ts`,
    'plan.upserts.map((upsert, i)',
    'plan.upserts.slice(0, 2).map((upsert, i)',
    'OUT-1',
  ],
  [
    'removals-ignored',
    'Removals at the vendor are never applied',
    `${UNIT}persist-page.ts`,
    'const removals = plan.removals.map(',
    'const removals = plan.removals.slice(0, 0).map(',
    'OUT-1',
  ],
  [
    'sequence-repeats',
    'Sequences of a page begin with the last one of the page before',
    `${UNIT}persist-page.ts`,
    'sequence: version + 1 + i',
    'sequence: version + i',
    'OUT-1',
  ],
  [
    'one-statement-claim',
    'A claim reads its calendars as they were before it got the row',
    `${UNIT}claim.ts`,
    `      const connection = await bumpEpoch(tx, id)
      if (connection === null) throw new NotRun({ kind: 'done', why: 'unknown-connection' })
      const calendars = await readCalendars(tx, id, deps.rules)
`,
    `      const calendars = await readCalendars(tx, id, deps.rules)
      const connection = await bumpEpoch(tx, id)
      if (connection === null) throw new NotRun({ kind: 'done', why: 'unknown-connection' })
`,
    'OVERLAP',
    'ci',
  ],
  [
    'gate-not-asked',
    'The gate is not asked between pages',
    `${UNIT}unit.ts`,
    "  const gate = closedGate(deps.gates, unit.connection)\n  if (gate !== null) return { kind: 'held', gate }\n  unit.progress",
    '  unit.progress',
    'GD-1',
  ],
  [
    'gates-never-asked',
    'Sync asks no gate at all',
    `${UNIT}unit.ts`,
    "    if (decision.state !== 'on') return decision.gate\n",
    '',
    'GD-1',
  ],
  [
    'held-not-kept',
    'A unit that meets a closed gate keeps nothing',
    `${UNIT}end.ts`,
    '    await holdRequests(write.tx, [{ connectionId, gate }])\n',
    '    void [holdRequests, connectionId]\n',
    'GD-1',
  ],
  [
    'keys-not-asked',
    'A notification that was answered is synced again',
    `${UNIT}claim-rules.ts`,
    'return request.deliveryKey !== null && recordedKeys.has(request.deliveryKey)',
    'return request.deliveryKey === null && recordedKeys.size < 0',
    'REP',
  ],
  [
    'backoff-ignored',
    'A ring inside a backoff window runs all the same',
    `${UNIT}claim-rules.ts`,
    "  if (waitMs > EARLY_MAX_MS) return { kind: 'done', why: 'backing-off' }\n  if (waitMs > 0) return { kind: 'early', waitMs }\n",
    '  void [waitMs, EARLY_MAX_MS]\n',
    'OUT-1',
  ],
  [
    'retry-after-ignored',
    'Retry-After is no floor',
    'services/shared/domain/backoff.ts',
    'retryAt === undefined ? 0 :',
    'retryAt !== null ? 0 :',
    'THROTTLE',
    'ci',
  ],
  [
    'failure-not-recorded',
    'A failed unit counts as done',
    `${UNIT}fail.ts`,
    'failure: Failure, blame: Blame): Promise<UnitEnd> {\n',
    "failure: Failure, blame: Blame): Promise<UnitEnd> {\n  if (blame) return { kind: 'failed', code: failure.code }\n",
    'OUT-1',
  ],
  [
    'failure-not-counted',
    'calendar_sync_failures_total does not move',
    `${UNIT}moments.ts`,
    '  metrics.syncFailures.add(1, { vendor',
    '  metrics.syncFailures.add(0, { vendor',
    'OUT-1',
  ],
  [
    'failure-not-logged',
    'A failed unit is not logged',
    `${UNIT}moments.ts`,
    "if (end.kind === 'failed') logger.warn(line, 'unit failed')",
    "if (end.kind === 'failed') logger.debug(line, 'unit failed')",
    'OUT-1',
  ],
  [
    'retries-satisfied',
    'Retry and sweep rings are called satisfied',
    `${UNIT}claim-rules.ts`,
    '      return !isOwed(request, view)\n    case',
    '      return isOwed(request, view) || !isOwed(request, view)\n    case',
    'OUT-1',
  ],
  [
    'poison-blocks',
    'An unreadable record is tried for ever',
    'services/shared/kafka/bury-record.ts',
    '    await producer.send([deadLetterRecord(record, { code: CODE, problem, lastFailedAt: clock.now() })])\n',
    "    throw new Failure('kafka/unavailable', problem)\n",
    'OFFSETS',
    'ci',
  ],
  [
    'leaves-unsaid',
    'A process that stops does not leave its group, which waits for the end of its session',
    'services/shared/kafka/membership.ts',
    '    this.#end(null)\n    await this.#disconnect()\n',
    '    this.#end(null)\n',
    'SCALE',
    'ci',
  ],
]
