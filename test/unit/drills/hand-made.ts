// Ledgers made by hand: a small good history, and the pieces to spoil it with.
import { createHash } from 'node:crypto'
import { TOPICS } from '#schemas/topics.ts'
import type { EventChanged } from '#schemas/messages.gen.ts'
import type { EventImage, StreamRecord } from '../../../infra/oracle/verify.ts'
import type { AuditRow } from '../../drills/ledgers/audit.ts'
import type { ApiCall, Ledgers } from '../../drills/ledgers/ledgers.ts'

export const CONNECTION = '0198d3a0-0000-7000-8000-00000000000a'
export const PROVIDER = '0198d3a0-0000-7000-8000-00000000000b'
export const CALENDAR = '0198d3a0-0000-7000-8000-00000000000c'
export const EVENT = '0198d3a0-0000-7000-8000-00000000000d'
export const KEY = `${CONNECTION}/${CALENDAR}/e1`
export const T0 = 1_800_000_000_000

export function image(version: number): EventImage {
  return {
    title: `c1/e1/v${version}/0123456789ab`,
    status: 'confirmed',
    busy: true,
    allDay: false,
    start: T0 * 1000,
    end: (T0 + 3_600_000) * 1000,
    timeZone: 'UTC',
    seriesId: null,
    originalStart: null,
    location: null,
    organizer: null,
    updatedAt: T0 * 1000,
    etag: `"${version}"`,
  }
}

let seq = 0

/** One audit row of the sync process that holds the epoch, unless told otherwise. */
export function row(
  txid: number,
  table: AuditRow['table'],
  parts: Partial<Omit<AuditRow, 'txid' | 'table'>>,
): AuditRow {
  seq += 1
  return {
    seq,
    txid: String(txid),
    at: T0 + seq,
    table,
    op: 'UPDATE',
    process: 'sync-1#1',
    role: 'calstream_sync',
    connectionId: CONNECTION,
    old: null,
    new: null,
    ...parts,
  }
}

export function connectionRow(parts: Record<string, unknown> = {}) {
  return {
    id: CONNECTION,
    status: 'active',
    sync_needed: false,
    last_synced_at: null,
    error_count: 0,
    last_error: null,
    backoff_until: null,
    sync_epoch: 1,
    version: 0,
    unfinished: 0,
    ...parts,
  }
}

/** The update of a connection row from one state to another. */
export function connectionUpdate(
  txid: number,
  old: Record<string, unknown>,
  now: Record<string, unknown>,
  parts: Partial<AuditRow> = {},
): AuditRow {
  return row(txid, 'external_calendar_connections', {
    old: connectionRow(old),
    new: connectionRow(now),
    ...parts,
  })
}

export function claim(txid: number, epoch: number, parts: Partial<AuditRow> = {}): AuditRow {
  return connectionUpdate(txid, { sync_epoch: epoch - 1 }, { sync_epoch: epoch }, parts)
}

/** A page that one transaction wrote: fence, event row, message, cursor. */
export function page(
  txid: number,
  {
    version,
    sequence,
    cursor,
    epoch = 1,
  }: { version: number; sequence: number; cursor: string; epoch?: number },
  parts: Partial<AuditRow> = {},
): readonly AuditRow[] {
  return [
    connectionUpdate(
      txid,
      { sync_epoch: epoch, version: sequence - 1 },
      { sync_epoch: epoch, version: sequence },
      parts,
    ),
    row(txid, 'external_calendar_events', {
      op: version === 1 ? 'INSERT' : 'UPDATE',
      old: version === 1 ? null : eventRow(version - 1, sequence - 1),
      new: eventRow(version, sequence),
      ...parts,
    }),
    letter(txid, version, sequence, parts),
    row(txid, 'external_calendars', {
      old: { id: CALENDAR, connection_id: CONNECTION, cursor: null },
      new: { id: CALENDAR, connection_id: CONNECTION, cursor },
      ...parts,
    }),
  ]
}

export function eventRow(version: number, sequence: number) {
  return {
    event_id: EVENT,
    connection_id: CONNECTION,
    calendar_id: CALENDAR,
    vendor_event_id: 'e1',
    title: `c1/e1/v${version}/0123456789ab`,
    etag: `"${version}"`,
    content_hash: `hash${version}`,
    generation: 1,
    sequence,
  }
}

export function letter(
  txid: number,
  version: number,
  sequence: number,
  parts: Partial<AuditRow> = {},
): AuditRow {
  return row(txid, 'outbox', {
    op: 'INSERT',
    new: {
      topic: TOPICS.eventChanged,
      key: CONNECTION,
      ce_id: `id-${sequence}`,
      ce_sequence: String(sequence),
      value_hash: hash(valueOf(version, sequence)),
    },
    ...parts,
  })
}

export function record(version: number, sequence: number, parts: Partial<StreamRecord> = {}): StreamRecord {
  const { start, end, originalStart, ...rest } = image(version)
  const message = {
    eventId: EVENT,
    connectionId: CONNECTION,
    providerId: PROVIDER,
    calendarId: CALENDAR,
    vendor: 'google',
    vendorEventId: 'e1',
    change: 'upserted',
    removalReason: null,
    sequence,
    observedAt: T0 * 1000,
    vendorUpdatedAt: T0 * 1000,
    event: {
      ...rest,
      start: { at: start, date: null },
      end: { at: end, date: null },
      originalStart: originalStart === null ? null : { at: originalStart, date: null },
    },
  } as unknown as EventChanged
  return {
    topic: TOPICS.eventChanged,
    partition: 0,
    offset: BigInt(sequence),
    key: CONNECTION,
    value: valueOf(version, sequence),
    headers: new Map([
      ['ce_id', `id-${sequence}`],
      ['ce_sequence', String(sequence)],
    ]),
    receivedAtMs: T0,
    message,
    problem: null,
    ...parts,
  }
}

export function listing(start: number, end: number, parts: Partial<ApiCall> = {}): ApiCall {
  return {
    seq: start,
    start: T0 + start,
    end: T0 + end,
    method: 'GET',
    path: '/calendar/v3/calendars/a/events',
    accountId: 'c1',
    calendarId: 'a',
    status: 200,
    ...parts,
  }
}

/** A good history of one event in two versions. */
export function goodLedgers(changes: Partial<Ledgers> = {}): Ledgers {
  const audit = [
    claim(1, 1),
    ...page(2, { version: 1, sequence: 1, cursor: 'k1' }),
    ...page(3, { version: 2, sequence: 2, cursor: 'k2' }),
  ]
  return {
    accounts: [
      {
        accountId: 'c1',
        vendor: 'google',
        connectionId: CONNECTION,
        providerId: PROVIDER,
        calendars: new Map([['a', CALENDAR]]),
      },
    ],
    truth: new Map([[KEY, image(2)]]),
    mayDiffer: () => false,
    changes: [change(1, 0), change(2, 20)],
    calls: [
      listing(10, 15, { syncTokenOut: 'k1' }),
      listing(30, 35, { syncTokenIn: 'k1', syncTokenOut: 'k2' }),
    ],
    webhooks: [],
    gates: [],
    nemesis: [],
    audit,
    held: new Map([[KEY, image(2)]]),
    connections: [
      { connectionId: CONNECTION, status: 'active', syncNeeded: false, errorCount: 0, backoffUntil: null },
    ],
    outboxLeft: 0,
    heldLeft: 0,
    topics: new Map([
      [TOPICS.eventChanged, [record(1, 1), record(2, 2)]],
      [
        TOPICS.eventState,
        [
          record(1, 1, { topic: TOPICS.eventState, key: KEY }),
          record(2, 2, { topic: TOPICS.eventState, key: KEY }),
        ],
      ],
    ]),
    logs: [],
    processes: [],
    samples: [{ at: T0, instance: 'sync-1', pid: 1, rssMb: 150, descriptors: 40 }],
    load: [{ at: T0, outbox: 0, held: 0, dirty: 0, sessions: 20 }],
    scrapes: [],
    requests: [],
    secrets: new Map([['a token', 'ya29.SecretSecretSecretSecretSecretSecret']]),
    texts: new Map([['a log', 'nothing of the kind']]),
    marks: { startedAt: T0, steadyAt: T0, healedAt: T0 + 50, convergedAt: T0 + 100, endedAt: T0 + 200 },
    ...changes,
  }
}

export function change(version: number, at: number, removed = false): Ledgers['changes'][number] {
  return {
    seq: version,
    at: T0 + at,
    accountId: 'c1',
    calendarId: 'a',
    eventId: 'e1',
    eventIds: removed ? [] : ['e1'],
    removedEventIds: removed ? ['e1'] : [],
    kind: removed ? 'delete' : 'update',
    etag: `"${version}"`,
  }
}

function valueOf(version: number, sequence: number): Buffer {
  return Buffer.from(`v${version} s${sequence}`)
}

function hash(value: Buffer): string {
  return createHash('sha256').update(value).digest('hex')
}
