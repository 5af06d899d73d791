// A server in a vendor's place that answers as told and remembers what it was asked, with an
// adapter that talks to it.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import type { PageRequest, Vendor } from '#shared/vendors/vendor.ts'

export const NOW = Date.UTC(2026, 10, 20, 12) * 1000
export const signal = AbortSignal.timeout(60_000)
export const FULL: PageRequest = {
  vendorCalendarId: 'ana@example.com',
  cursor: null,
  pageToken: null,
  window: { from: NOW - 30 * 86_400_000_000, to: NOW + 365 * 86_400_000_000 },
}

export interface Seen {
  readonly method: string
  readonly url: URL
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: string
}

export type Answer = (response: ServerResponse, seen: Seen) => void

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

export async function google(answer: Answer): Promise<{ vendor: Vendor; seen: Seen[] }> {
  return answering(answer, (url) => {
    const config = {
      apiUrl: url,
      authUrl: `${url}/consent`,
      tokenUrl: `${url}/token`,
      revokeUrl: `${url}/revoke`,
      clientId: 'cid',
      clientSecret: new Secret('s3cr+t&'),
    }
    return createGoogle(config, { now: () => NOW })
  })
}

/** A server that answers as told, and the adapter that `create` makes for its address. */
export async function answering(
  answer: Answer,
  create: (url: string) => Vendor,
): Promise<{ vendor: Vendor; seen: Seen[]; url: string }> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://localhost')
      const { method = '', headers } = request
      const entry: Seen = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') }
      seen.push(entry)
      answer(response, entry)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { vendor: create(url), seen, url }
}

export function json(body: unknown, status = 200): Answer {
  return (response) => {
    response
      .writeHead(status, { 'content-type': 'application/json; charset=UTF-8' })
      .end(JSON.stringify(body))
  }
}

export function problem(status: number, reason: string, message = 'No.', location?: string): Answer {
  return json(
    { error: { errors: [{ domain: 'x', reason, message, location }], code: status, message } },
    status,
  )
}

export async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => expect.unreachable('the call should have failed'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Failure)
  return error as Failure
}

export const EVENT = {
  id: 'e1',
  start: { dateTime: '2026-12-01T10:00:00Z' },
  end: { dateTime: '2026-12-01T11:00:00Z' },
}
