// The ids of our schemas as the deployment noted them: `calstream schemas apply` writes them to a
// file, and a service that starts while the registry is away reads them there. Invariant: an id is
// taken for the very schema that it was noted for, so the file of another release gives none.
import { createHash } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import type { SchemaTopic } from '#schemas/topics.ts'
import { schemaOf, subjectOf } from './codec.ts'

const noted = z.record(z.string(), z.object({ id: z.int().nonnegative(), schema: z.string() }))

type Noted = z.output<typeof noted>

/** Notes these ids, whole or not at all. Throws where the file cannot be written. */
export function writeSchemaIds(path: string, prefix: string, ids: ReadonlyMap<SchemaTopic, number>): void {
  const content: Noted = Object.fromEntries(
    [...ids].map(([topic, id]) => [subjectOf(prefix, topic), { id, schema: fingerprintOf(topic) }]),
  )
  writeFileSync(`${path}.new`, `${JSON.stringify(content, null, 2)}\n`)
  renameSync(`${path}.new`, path)
}

/** null without a file, and where it lacks one of these topics or has another schema of it. */
export function readSchemaIds(config: {
  readonly idsPath?: string | undefined
  readonly prefix: string
  readonly topics: readonly SchemaTopic[]
}): ReadonlyMap<SchemaTopic, number> | null {
  const content = config.idsPath === undefined ? null : readNoted(config.idsPath)
  if (content === null) return null
  const ids = new Map<SchemaTopic, number>()
  for (const topic of config.topics) {
    const found = content[subjectOf(config.prefix, topic)]
    if (found?.schema !== fingerprintOf(topic)) return null
    ids.set(topic, found.id)
  }
  return ids
}

function readNoted(path: string): Noted | null {
  try {
    return noted.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return null
  }
}

function fingerprintOf(topic: SchemaTopic): string {
  return createHash('sha256')
    .update(JSON.stringify(schemaOf(topic)))
    .digest('hex')
}
