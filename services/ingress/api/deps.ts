// What the routes of the API for apps take.
import type { Gates } from '#shared/domain/gates.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Database, Queryable } from '#shared/store/database.ts'
import type { Publisher } from '../publisher.ts'
import type { Refusals } from '../refusals.ts'
import type { BearerCheck } from '#shared/process/bearer.ts'

/** What an answer from stored rows is made of. */
export interface Reading {
  readonly gates: Pick<Gates, 'sync'>
  readonly db: Queryable
}

export interface ApiDeps extends Reading {
  readonly gates: Gates
  readonly bearer: BearerCheck
  readonly db: Database
  readonly codec: Pick<Codec, 'encode'>
  readonly refusals: Pick<Refusals, 'hold'>
  readonly publisher: Pick<Publisher, 'ring'>
  readonly logger: Logger
  /** Without a slash at its end. */
  readonly publicUrl: string
}
