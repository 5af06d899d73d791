// The ledger D: every committed change of every table that a unit writes. Triggers of a separate
// role record it, so no service can omit or take back anything. A transaction that was rolled back
// leaves nothing here either.
import pg from 'pg'
import { runStatement } from '../../../infra/stack/postgres.ts'

export type AuditTable =
  | 'external_calendar_connections'
  | 'external_calendars'
  | 'external_calendar_events'
  | 'webhook_dedupe_keys'
  | 'held_requests'
  | 'outbox'
  | 'connection_credentials'
  | 'channels'

type Row = Readonly<Record<string, unknown>>

export interface AuditRow {
  /**
   * Order of the statements. Per connection also commit order: every writer takes its row lock
   * first.
   */
  readonly seq: number
  readonly txid: string
  /** Database clock of the statement, ms since 1970. */
  readonly at: number
  readonly table: AuditTable
  readonly op: 'INSERT' | 'UPDATE' | 'DELETE'
  /**
   * `<instance>#<start>` of the writing process, as its connection URL says; '' for any other
   * writer.
   */
  readonly process: string
  /** The role that wrote. */
  readonly role: string
  readonly connectionId: string | null
  readonly old: Row | null
  readonly new: Row | null
}

const AUDITOR = 'drill_auditor'
const QUERY_TIMEOUT_MS = 60_000
/**
 * An hour of chaos writes some millions of rows. Read at once, they would not fit into one answer.
 */
const PAGE = 20_000

/** table → recorded columns. Of credentials the version alone: a ledger holds no secrets. */
const WATCHED: Readonly<Record<AuditTable, readonly string[]>> = {
  external_calendar_connections: [
    'id',
    'status',
    'sync_needed',
    'last_synced_at',
    'error_count',
    'last_error',
    'backoff_until',
    'sync_epoch',
    'version',
    'unfinished',
    'vendor_account_id',
  ],
  external_calendars: [
    'id',
    'connection_id',
    'selected',
    'cursor',
    'checkpoint',
    'generation',
    'resync_after',
    'sweep_below',
    'failures',
  ],
  external_calendar_events: [
    'event_id',
    'connection_id',
    'calendar_id',
    'vendor_event_id',
    'title',
    'etag',
    'content_hash',
    'generation',
    'sequence',
  ],
  webhook_dedupe_keys: ['connection_id', 'delivery_key'],
  held_requests: ['connection_id', 'gate', 'seq'],
  outbox: ['id', 'shard', 'topic', 'key', 'ce_id', 'ce_sequence', 'value_hash'],
  connection_credentials: ['connection_id', 'version'],
  channels: ['id', 'connection_id', 'calendar_id', 'status'],
}

/**
 * Installs the triggers. `url` is the superuser's, of a migrated database that no service uses yet.
 */
export async function installAudit(url: string): Promise<void> {
  await runStatement(
    url,
    `do $$ begin create role ${AUDITOR} nologin; exception when duplicate_object or unique_violation then null; end $$;
     drop schema if exists drill_audit cascade;
     create schema drill_audit authorization ${AUDITOR};
     create table drill_audit.entries (
       seq bigint generated always as identity primary key, txid xid8 not null, at timestamptz not null,
       table_name text not null, op text not null, process text not null, role text not null, connection_id text,
       old jsonb, new jsonb);
     alter table drill_audit.entries owner to ${AUDITOR};
     create function drill_audit.pick(source jsonb, wanted text[]) returns jsonb language sql immutable as
       $f$ select jsonb_object_agg(key, value) from jsonb_each(source) where key = any(wanted) $f$;
     create function drill_audit.note() returns trigger language plpgsql security definer set search_path = drill_audit, pg_catalog as $f$
     declare
       before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
       after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
       wanted text[] := tg_argv[0]::text[];
       one jsonb;
     begin
       if tg_table_name = 'outbox' then
         before := before || drill_audit.letter(before);
         after := after || drill_audit.letter(after);
       end if;
       one := coalesce(after, before);
       insert into drill_audit.entries (txid, at, table_name, op, process, role, connection_id, old, new) values (
         pg_current_xact_id(), clock_timestamp(), tg_table_name, tg_op, coalesce(current_setting('drill.process', true), ''),
         session_user, case when tg_table_name = 'external_calendar_connections' then one ->> 'id'
           when tg_table_name = 'outbox' then split_part(one ->> 'key', '/', 1) else one ->> 'connection_id' end,
         drill_audit.pick(before, wanted), drill_audit.pick(after, wanted));
       return null;
     end $f$;
     create function drill_audit.letter(message jsonb) returns jsonb language sql immutable as
       $f$ select case when message is null then null else jsonb_build_object('ce_id', message -> 'headers' ->> 'ce_id',
             'ce_sequence', message -> 'headers' ->> 'ce_sequence',
             'value_hash', case when message ->> 'value' is null then null
               else encode(sha256(decode(substr(message ->> 'value', 3), 'hex')), 'hex') end) end $f$;
     alter function drill_audit.note() owner to ${AUDITOR};
     alter function drill_audit.pick(jsonb, text[]) owner to ${AUDITOR};
     alter function drill_audit.letter(jsonb) owner to ${AUDITOR};
     ${Object.entries(WATCHED)
       .map(
         ([table, columns]) =>
           `create trigger drill_audit after insert or update or delete on ${table} for each row execute function drill_audit.note('{${columns.join(',')}}');`,
       )
       .join('\n')}`,
  )
}

/** Everything, in order. */
export async function readAudit(url: string): Promise<readonly AuditRow[]> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 15_000,
    query_timeout: QUERY_TIMEOUT_MS,
  })
  client.on('error', () => {})
  await client.connect()
  try {
    const all: AuditRow[] = []
    for (;;) {
      const { rows } = await client.query<AuditRow>(
        `select seq::float8 as seq, txid::text as txid, (extract(epoch from at) * 1000)::float8 as at, table_name as "table", op,
                process, role, connection_id as "connectionId", old, new
           from drill_audit.entries where seq > $1 order by seq limit ${PAGE}`,
        [all.at(-1)?.seq ?? 0],
      )
      for (const row of rows) all.push(row)
      if (rows.length < PAGE) return all
    }
  } finally {
    await client.end()
  }
}
