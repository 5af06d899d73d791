// The connections of one provider, as its app asks about them. Reads only.
import type { ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

export interface ProviderConnection {
  readonly id: ConnectionId
  readonly vendor: VendorName
  readonly status: ConnectionStatus
}

export interface ProviderConnections {
  /** The database clock of the answer, whole µs; null when there is no connection. */
  readonly asOf: Micros | null
  readonly connections: readonly ProviderConnection[]
}

/**
 * Every connection of a provider, whatever its status, by id; none for a provider that we do not
 * know. Throws Failure store/*.
 */
export async function providerConnections(db: Queryable, provider: ProviderId): Promise<ProviderConnections> {
  const { rows } = await db.query<ProviderConnection & { asOf: Micros }>(
    `with clock as materialized (select to_micros(calstream_now()) as as_of)
     select c.id, c.vendor, c.status, clock.as_of as "asOf"
       from external_calendar_connections c cross join clock
      where c.provider_id = $1
      order by c.id`,
    [provider],
  )
  return {
    asOf: rows[0]?.asOf ?? null,
    connections: rows.map(({ id, vendor, status }) => ({ id, vendor, status })),
  }
}

/**
 * One connection with its provider; null when the provider (any, for an operator's null) has no
 * such. Throws Failure store/*.
 */
export async function oneConnection(
  db: Queryable,
  owner: ProviderId | null,
  connection: ConnectionId,
): Promise<(ProviderConnections & { readonly provider: ProviderId }) | null> {
  const { rows } = await db.query<ProviderConnection & { providerId: ProviderId; asOf: Micros }>(
    `select c.id, c.vendor, c.status, c.provider_id as "providerId", to_micros(calstream_now()) as "asOf"
       from external_calendar_connections c
      where c.id = $2 and ($1::uuid is null or c.provider_id = $1)`,
    [owner, connection],
  )
  const [row] = rows
  if (row === undefined) return null
  const { id, vendor, status, providerId, asOf } = row
  return { provider: providerId, asOf, connections: [{ id, vendor, status }] }
}
