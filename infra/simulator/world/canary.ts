// Canaries: a generated summary says which account, event and version it belongs to and carries a
// hash of the rest of the content (`c17/e9/v4/<hash>`), so that a checker recognises every version
// anywhere and sees invented or mixed-up data.
import { createHash } from 'node:crypto'

export interface Canary {
  readonly accountId: string
  readonly eventNo: number
  readonly version: number
  readonly hash: string
}

const SHAPE = /^(c\d+)\/e(\d+)\/v(\d+)\/([0-9a-f]{12})$/

/** 12 hex characters over everything in the fields but the summary, independent of key order. */
export function contentHash(fields: Readonly<Record<string, unknown>>): string {
  const { summary: _summary, ...content } = fields
  return createHash('sha256').update(canonical(content)).digest('hex').slice(0, 12)
}

/** The summary that marks one version of one event. */
export function canaryText(canary: Canary): string {
  return `${canary.accountId}/e${canary.eventNo}/v${canary.version}/${canary.hash}`
}

/** Reads a canary back; null for a summary that a person or a client wrote. */
export function parseCanary(summary: unknown): Canary | null {
  const match = typeof summary === 'string' ? SHAPE.exec(summary) : null
  if (!match) return null
  return {
    accountId: match[1] ?? '',
    eventNo: Number(match[2]),
    version: Number(match[3]),
    hash: match[4] ?? '',
  }
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`
}
