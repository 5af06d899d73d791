// Which tables a database has, and which ones this version needs: both are sets of files of
// schemas/sql. Invariant: a version works on a database that has all files which it knows, and
// beyond these only such as name it, or an older one, as compatible.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Failure } from '#shared/domain/failure.ts'
import type { Queryable } from './database.ts'

export const SQL_FOLDER = path.resolve(import.meta.dirname, '../../../schemas/sql')
/** Where the files that a database has are listed; `calstream migrate` writes it. */
export const MIGRATIONS_TABLE = 'calstream_migrations'

export interface TableSet {
  /** Files that this version needs and the database lacks, in order. */
  readonly missing: readonly string[]
  /** Files that the database has and this version does not know. */
  readonly newer: readonly string[]
  /** Those of `newer` whose tables this version does not work with. */
  readonly incompatible: readonly string[]
}

/** The names of the files that this version knows, in order, without `.sql`. */
export function knownFiles(folder = SQL_FOLDER): readonly string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, -'.sql'.length))
    .toSorted()
}

/** The number that a file's name begins with. */
export function numberOf(name: string): number {
  return Number.parseInt(name, 10)
}

/** The text of a file. */
export function sqlOf(name: string, folder = SQL_FOLDER): string {
  return readFileSync(path.join(folder, `${name}.sql`), 'utf8')
}

/**
 * The oldest file whose version works with the tables that this text makes, as its header says.
 * Throws Failure `internal/defect` without a header.
 */
export function compatibleWith(name: string, sql: string): number {
  const header = /^-- compatible-with: (\d{6})$/m.exec(sql)?.[1]
  if (header === undefined)
    throw new Failure('internal/defect', `schemas/sql/${name}.sql has no line "-- compatible-with: NNNNNN".`)
  return Number(header)
}

/**
 * Compares the files of a database with those that this version knows. A list that the role may not
 * read is one of before there was a right to read it. Throws Failure `store/*`.
 */
export async function readTableSet(db: Pick<Queryable, 'query'>, folder = SQL_FOLDER): Promise<TableSet> {
  return compareTables(knownFiles(folder), await appliedFiles(db))
}

interface AppliedFile {
  readonly name: string
  /** null where no version recorded it. */
  readonly compatibleWith: number | null
}

/** Pure. A file that was not called compatible is not. */
export function compareTables(known: readonly string[], applied: readonly AppliedFile[]): TableSet {
  const has = new Set(applied.map(({ name }) => name))
  const knows = new Set(known)
  const newer = applied.filter(({ name }) => !knows.has(name))
  const newest = numberOf(known.at(-1) ?? '0')
  return {
    missing: known.filter((name) => !has.has(name)),
    newer: newer.map(({ name }) => name),
    incompatible: newer.filter((file) => (file.compatibleWith ?? Infinity) > newest).map(({ name }) => name),
  }
}

/** What is wrong with the tables and what to do, in a sentence or two; null when nothing is. */
export function tableProblem({ missing, incompatible }: TableSet): string | null {
  if (incompatible.length > 0)
    return `The database has ${listed(incompatible)}, which this version of calstream does not know and does not work with. Use the newer version.`
  if (missing.length > 0) return `The database lacks ${listed(missing)}. Run calstream migrate.`
  return null
}

async function appliedFiles(db: Pick<Queryable, 'query'>): Promise<readonly AppliedFile[]> {
  const { rows } = await db.query<{ readable: boolean | null }>(
    `select has_table_privilege(to_regclass('public.${MIGRATIONS_TABLE}'), 'select') as readable`,
  )
  if (rows[0]?.readable !== true) return []
  // Through jsonb, because the column came with the file 000016.
  const applied = await db.query<AppliedFile>(
    `select name, (to_jsonb(file) ->> 'compatible_with')::int as "compatibleWith"
       from public.${MIGRATIONS_TABLE} file order by name`,
  )
  return applied.rows
}

const LISTED_MAX = 3

function listed(names: readonly string[]): string {
  const first = names.slice(0, LISTED_MAX).join(', ')
  return names.length > LISTED_MAX ? `${first} and ${names.length - LISTED_MAX} more` : first
}
