// OAuth flows: a link that was asked for, followed in one browser, and tried again there if need
// be. Invariants: each step is one conditional UPDATE by the database clock, so of processes and
// browsers that race exactly one takes it, and one that is refused changes nothing; a link is one
// row, however often it is tried, and connects one account at most.
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface NewFlow {
  readonly id: string
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** The connection that is to be connected again, if any. */
  readonly reconnects: ConnectionId | null
  /** Where the browser goes at the end; checked by the caller. */
  readonly returnTo: string | null
  /** What the app calls itself, 1 to 80 characters; checked by the caller. */
  readonly appName: string | null
  readonly lifeMs: number
}

export interface Flow {
  readonly id: string
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /**
   * null, too, once the account was erased: then it is connected anew.
   */
  readonly reconnects: ConnectionId | null
  /** How people know the account of `reconnects`. */
  readonly reconnectsLabel: string | null
  readonly returnTo: string | null
  readonly appName: string | null
  /** Number of the try under way; 0 until the link was followed. */
  readonly attempt: number
  /** null until the link was followed. */
  readonly browserHash: Buffer | null
  readonly isStateUsed: boolean
  /** Of the link until it is followed, then of the try under way. */
  readonly isExpired: boolean
  /** Whether the time of the link with all its tries is over. */
  readonly isOver: boolean
  /** What came of it. */
  readonly connectionId: ConnectionId | null
}

/**
 * Stores a flow and sweeps some that ended more than an hour ago.
 * @returns when its link expires.
 */
export async function createFlow(db: Queryable, flow: NewFlow): Promise<Micros> {
  const { rows } = await db.query<{ expiresAt: Micros }>(
    `with swept as (
       delete from oauth_flows where id in (
         select id from oauth_flows where expires_at < calstream_now() - interval '1 hour'
          order by expires_at limit 100 for update skip locked))
     insert into oauth_flows (id, provider_id, vendor, reconnects, return_to, app_name, expires_at)
     values ($1, $2, $3, $4, $5, $6, calstream_now() + $7::float8 * interval '1 millisecond')
     returning to_micros(expires_at) as "expiresAt"`,
    [flow.id, flow.providerId, flow.vendor, flow.reconnects, flow.returnTo, flow.appName, flow.lifeMs],
  )
  const row = rows[0]
  if (!row) throw new Error('insert of an OAuth flow returned no row')
  return row.expiresAt
}

/**
 * A flow as it stands; null when there is none (any more).
 * `chainLifeMs`: of a link with all its tries.
 */
export async function readFlow(db: Queryable, id: string, chainLifeMs: number): Promise<Flow | null> {
  const { rows } = await db.query<Flow>(
    `select f.id, f.provider_id as "providerId", f.vendor, f.return_to as "returnTo",
       case when c.vendor_account_id is not null then f.reconnects end as reconnects,
       f.app_name as "appName", f.attempt, f.connection_id as "connectionId",
       coalesce(c.account_label, c.vendor_account_id) as "reconnectsLabel", f.browser_hash as "browserHash",
       f.state_used_at is not null as "isStateUsed", f.expires_at <= calstream_now() as "isExpired",
       f.created_at + $2::float8 * interval '1 millisecond' <= calstream_now() as "isOver"
     from oauth_flows f left join external_calendar_connections c on c.id = f.reconnects
     where f.id = $1`,
    [id, chainLifeMs],
  )
  return rows[0] ?? null
}

export interface Try {
  /** 1 for the link itself; each later one needs the browser of the first. */
  readonly attempt: number
  readonly browserHash: Buffer
  readonly sealedVerifier: string
  readonly lifeMs: number
  readonly chainLifeMs: number
}

/**
 * Begins a try: binds the flow to the browser and begins the time for consent, which ends with the
 * chain's. The states of earlier tries are worth nothing from then on. @returns false when this try
 * was begun before, is another browser's or too late, or the link connected an account.
 */
export async function beginTry(db: Queryable, id: string, consent: Try): Promise<boolean> {
  const { rowCount } = await db.query(
    `update oauth_flows
        set attempt = $2, link_used_at = calstream_now(), browser_hash = $3, code_verifier = $4,
            state_used_at = null,
            expires_at = least(calstream_now() + $5::float8 * interval '1 millisecond',
                               created_at + $6::float8 * interval '1 millisecond')
      where id = $1 and attempt = $2 - 1 and connection_id is null
        and created_at + $6::float8 * interval '1 millisecond' > calstream_now()
        and case when attempt = 0 then link_used_at is null and expires_at > calstream_now()
                 else browser_hash = $3 end`,
    [id, consent.attempt, consent.browserHash, consent.sealedVerifier, consent.lifeMs, consent.chainLifeMs],
  )
  return rowCount === 1
}

/**
 * Uses the state of a try in the browser that began it.
 * @returns the sealed code verifier;
 * null when it was used before, a later try was begun, or it expired.
 */
export async function spendState(
  db: Queryable,
  id: string,
  { attempt, browserHash }: Pick<Try, 'attempt' | 'browserHash'>,
): Promise<string | null> {
  const { rows } = await db.query<{ sealedVerifier: string }>(
    `update oauth_flows
        set state_used_at = calstream_now(), code_verifier = null
      where id = $1 and attempt = $2 and browser_hash = $3 and state_used_at is null
        and connection_id is null and expires_at > calstream_now()
      returning old.code_verifier as "sealedVerifier"`,
    [id, attempt, browserHash],
  )
  return rows[0]?.sealedVerifier ?? null
}

/**
 * Notes what came of a try, in the transaction that connects. @returns false when a later try was
 * begun or the link connected already: the transaction must then not be committed.
 */
export async function finishTry(
  tx: Queryable,
  id: string,
  { attempt, connection }: { readonly attempt: number; readonly connection: ConnectionId },
): Promise<boolean> {
  const { rowCount } = await tx.query(
    'update oauth_flows set connection_id = $3 where id = $1 and attempt = $2 and connection_id is null',
    [id, attempt, connection],
  )
  return rowCount === 1
}
