// OAuth flows: a link that was asked for, followed once, consented to once. Invariant: each step is one conditional UPDATE by the
// database clock, so of processes and browsers that race exactly one takes it; whoever is refused changes nothing.
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from '#shared/platform/postgres.ts'

export interface NewFlow {
  readonly id: string
  readonly providerId: ProviderId
  readonly vendor: VendorName
  /** The connection that is to be connected again, if any. */
  readonly reconnects: ConnectionId | null
  /** Where the browser goes at the end; checked by the caller. */
  readonly returnTo: string | null
  readonly lifeMs: number
}

export interface Flow {
  readonly id: string
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly reconnects: ConnectionId | null
  /** How people know the account of `reconnects`. */
  readonly reconnectsLabel: string | null
  readonly returnTo: string | null
  /** null until the link was followed. */
  readonly browserHash: Buffer | null
  readonly isStateUsed: boolean
  readonly isExpired: boolean
}

/** Stores a flow and sweeps some that ended more than an hour ago. @returns when its link expires. */
export async function createFlow(db: Queryable, flow: NewFlow): Promise<Micros> {
  const { rows } = await db.query<{ expiresAt: Micros }>(
    `with swept as (
       delete from oauth_flows where id in (
         select id from oauth_flows where expires_at < calstream_now() - interval '1 hour'
          order by expires_at limit 100 for update skip locked))
     insert into oauth_flows (id, provider_id, vendor, reconnects, return_to, expires_at)
     values ($1, $2, $3, $4, $5, calstream_now() + $6::float8 * interval '1 millisecond')
     returning to_micros(expires_at) as "expiresAt"`,
    [flow.id, flow.providerId, flow.vendor, flow.reconnects, flow.returnTo, flow.lifeMs],
  )
  const row = rows[0]
  if (!row) throw new Error('insert of an OAuth flow returned no row')
  return row.expiresAt
}

/** A flow as it stands; null when there is none (any more). */
export async function readFlow(db: Queryable, id: string): Promise<Flow | null> {
  const { rows } = await db.query<Flow>(
    `select f.id, f.provider_id as "providerId", f.vendor, f.reconnects, f.return_to as "returnTo",
       coalesce(c.account_label, c.vendor_account_id) as "reconnectsLabel", f.browser_hash as "browserHash",
       f.state_used_at is not null as "isStateUsed", f.expires_at <= calstream_now() as "isExpired"
     from oauth_flows f left join external_calendar_connections c on c.id = f.reconnects
     where f.id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/** Follows a link: binds the flow to a browser and begins the time for consent. @returns false when it was followed before or expired. */
export async function followLink(
  db: Queryable,
  id: string,
  consent: { readonly browserHash: Buffer; readonly sealedVerifier: string; readonly lifeMs: number },
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update oauth_flows
        set link_used_at = calstream_now(), browser_hash = $2, code_verifier = $3,
            expires_at = calstream_now() + $4::float8 * interval '1 millisecond'
      where id = $1 and link_used_at is null and expires_at > calstream_now()`,
    [id, consent.browserHash, consent.sealedVerifier, consent.lifeMs],
  )
  return rowCount === 1
}

/** Uses the state of a flow in the browser that followed its link. @returns the sealed code verifier; null when somebody did before, or it expired. */
export async function spendState(db: Queryable, id: string, browserHash: Buffer): Promise<string | null> {
  const { rows } = await db.query<{ sealedVerifier: string }>(
    `update oauth_flows
        set state_used_at = calstream_now(), code_verifier = null
      where id = $1 and browser_hash = $2 and state_used_at is null and expires_at > calstream_now()
      returning old.code_verifier as "sealedVerifier"`,
    [id, browserHash],
  )
  return rows[0]?.sealedVerifier ?? null
}

/** Notes what came of a flow, in the transaction that connects. */
export async function finishFlow(tx: Queryable, id: string, connection: ConnectionId): Promise<void> {
  await tx.query('update oauth_flows set connection_id = $2 where id = $1', [id, connection])
}
