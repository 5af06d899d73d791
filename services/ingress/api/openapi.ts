// `GET /openapi.json`: schemas/openapi.yaml as JSON, with the address of this installation as its
// server. It needs no token.
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import { parse } from 'yaml'
import { takes } from './members.ts'

const SOURCE = new URL('../../../schemas/openapi.yaml', import.meta.url)
/** It changes with a release only; long enough for a page that loads it again and again. */
const FRESH_S = 300

/**
 * 200 · 400. `publicUrl` without a slash at its end.
 * Throws when the document is missing or is no YAML.
 */
export function registerOpenApi(app: FastifyInstance, publicUrl: string): void {
  const document = parse(readFileSync(SOURCE, 'utf8')) as object
  const text = JSON.stringify({ ...document, servers: [{ url: publicUrl }] })
  app.get('/openapi.json', {
    preHandler: takes({}),
    handler: async (_request, reply) =>
      reply
        .header('cache-control', `public, max-age=${FRESH_S}`)
        .type('application/json; charset=utf-8')
        .send(text),
  })
}
