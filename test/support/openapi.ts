// schemas/openapi.yaml as tests compare it with the server: operations with the statuses that they say they answer.
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

/** `POST /api/…` → statuses in order; parameters of a path as `{name}`. */
export function documentedOperations(): Map<string, readonly string[]> {
  const document = parse(readFileSync('schemas/openapi.yaml', 'utf8')) as {
    paths: Record<string, Record<string, { responses: Record<string, object> }>>
  }
  const operations = new Map<string, readonly string[]>()
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const operation = item[method]
      if (operation)
        operations.set(`${method.toUpperCase()} ${path}`, Object.keys(operation.responses).toSorted())
    }
  }
  return operations
}

/** Whether an operation needs nothing but Kafka and held rows: its answers are provoked without a database. */
export function isProvokedOnLiterals(operation: string): boolean {
  return operation.includes('/api/webhooks/') || operation.endsWith('/api/calendar/sync')
}
