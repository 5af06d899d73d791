// The cross fault matrix at the simulated Microsoft: each way to fail, for each kind of call, over
// plain HTTP, because the SDK would hide the wire; and what was committed although nobody heard of
// it, with the official Graph SDK as client.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGraphReceiver, type GraphReceiver } from '../support/graph-receiver.ts'
import { DAY_MS, type GraphWorld, hour, openGraph, refusedAs, type Row } from '../support/graph-sdk.ts'
import { outcomeOf, wireFaults } from '../support/wire-faults.ts'

const OPERATIONS = ['token', 'list', 'read', 'write', 'watch', 'renew', 'stop', 'busy', 'batch'] as const
type Operation = (typeof OPERATIONS)[number]

/**
 * What a healthy call of each kind answers: writes and the rest are aimed at what is not there, so
 * that they change nothing.
 */
const HEALTHY: Readonly<Record<Operation, number>> = {
  token: 200,
  list: 200,
  read: 200,
  write: 404,
  watch: 201,
  renew: 404,
  stop: 404,
  busy: 400,
  batch: 200,
}

let receiver: GraphReceiver
beforeAll(async () => {
  receiver = await startGraphReceiver()
})
afterAll(async () => {
  await receiver?.[Symbol.asyncDispose]()
})

function subscription(world: GraphWorld) {
  return {
    changeType: 'created',
    notificationUrl: receiver.url,
    resource: `${world.mailbox.calendar().slice(1)}/events`,
    expirationDateTime: new Date(Date.now() + DAY_MS).toISOString(),
  }
}

/** One call of the kind, as raw as HTTP. */
function call(
  world: GraphWorld,
  operation: Operation,
  signal = AbortSignal.timeout(10_000),
): Promise<Response> {
  const { account, bearer } = world.mailbox
  const grant = {
    grant_type: 'refresh_token',
    client_id: account.clientId,
    client_secret: account.clientSecret,
    refresh_token: account.refreshToken,
  }
  const calls: Record<Operation, readonly [method: string, path: string, body?: object]> = {
    token: ['POST', '/common/oauth2/v2.0/token'],
    list: ['GET', '/v1.0/me/events'],
    read: ['GET', '/v1.0/me'],
    write: ['DELETE', '/v1.0/me/events/none'],
    watch: ['POST', '/v1.0/subscriptions', subscription(world)],
    renew: ['PATCH', '/v1.0/subscriptions/none', {}],
    stop: ['DELETE', '/v1.0/subscriptions/none'],
    busy: ['POST', '/v1.0/me/calendar/getSchedule', {}],
    batch: ['POST', '/v1.0/$batch', { requests: [{ id: '1', method: 'GET', url: '/me/calendars' }] }],
  }
  const [method, path, body] = calls[operation]
  const json = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' }
  return fetch(new URL(path, world.simulator.microsoftUrl), {
    method,
    signal,
    ...(operation === 'token'
      ? { body: new URLSearchParams(grant) }
      : { headers: json, ...(body ? { body: JSON.stringify(body) } : {}) }),
  })
}

const strike = ({ simulator }: GraphWorld, match: object, fault: object) =>
  simulator.admin('POST', '/admin/faults', { match: { vendor: 'microsoft', ...match }, times: 1, ...fault })

async function hits({ simulator }: GraphWorld): Promise<readonly number[]> {
  const { faults } = await simulator.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
  return faults.map((fault) => fault.hits)
}

describe.each(OPERATIONS)('a fault of %s', (operation) => {
  const healthy = `${HEALTHY[operation]} application/json json`
  const FAULTS = wireFaults(healthy)

  it('is met once by that kind of call only, and looks as it was asked for', async () => {
    await using world = await openGraph()
    const others = OPERATIONS.filter((other) => other !== operation)
    for (const [fault, expected] of FAULTS) {
      await strike(world, { operation }, fault)
      for (const other of others) expect((await call(world, other)).status, other).toBe(HEALTHY[other])
      const met = await outcomeOf(call(world, operation))
      expect([JSON.stringify(fault), met]).toEqual([JSON.stringify(fault), expected])
      expect(await outcomeOf(call(world, operation)), 'the next call').toBe(healthy)
    }
    expect(await hits(world)).toEqual(FAULTS.map(() => 1))
  })

  it('can throttle, with the moment to come back in either form or without one', async () => {
    await using world = await openGraph()
    const date = new Date(Date.now() + 30_000).toUTCString()
    for (const retryAfter of ['30', date, null]) {
      const headers = retryAfter === null ? {} : { 'retry-after': retryAfter }
      await strike(world, { operation }, { respond: { status: 429, headers } })
      const answer = await call(world, operation)
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, retryAfter])
      const { error } = (await answer.json()) as { error: string | { code: string } }
      expect(error).toEqual(
        operation === 'token'
          ? 'temporarily_unavailable'
          : expect.objectContaining({ code: 'ApplicationThrottled' }),
      )
    }
  })

  it('can be an answer that never comes, until the client goes', async () => {
    await using world = await openGraph()
    await strike(world, { operation }, { hang: true })
    const gone = new AbortController()
    const hanging = outcomeOf(call(world, operation, gone.signal))
    await eventually('the call to hang', async () => (await hits(world))[0] === 1)
    expect(await outcomeOf(call(world, operation)), 'others are answered meanwhile').toBe(healthy)
    gone.abort()
    expect(await hanging).toBe('broken: AbortError')
    const { requests } = await world.simulator.admin<{ requests: { status: number; faultId?: string }[] }>(
      'GET',
      '/admin/requests',
    )
    expect(requests.filter(({ faultId }) => faultId !== undefined).map(({ status }) => status)).toEqual([0])
  })

  it('can be a body without an end, of which a client may read as much as it dares', async () => {
    await using world = await openGraph()
    await strike(world, { operation }, { endless: true })
    const reader = (await call(world, operation)).body?.getReader()
    let bytes = 0
    while (bytes < 1_000_000) bytes += (await reader?.read())?.value?.length ?? Infinity
    await reader?.cancel()
    expect(Number.isFinite(bytes)).toBe(true)
    expect(await outcomeOf(call(world, operation))).toBe(healthy)
  })
})

describe('an ambiguous write', () => {
  const subjects = async ({ mailbox }: GraphWorld) =>
    (await mailbox.graph.api('/me/events').get()).value.map(({ subject }: Row) => subject)

  it.each([
    ['reset before the work', { reset: 'before' }, []],
    ['reset after the work', { reset: 'after' }, ['Plan']],
    ['answered 500 instead of the work', { respond: { status: 500 } }, []],
    ['answered 500 after the work', { respond: { status: 500 }, afterWork: true }, ['Plan']],
    ['answered in HTML after the work', { html: true, afterWork: true }, ['Plan']],
    ['cut off', { truncate: true }, ['Plan']],
  ] as const)('%s is made once by a second try with its transaction id', async (_name, fault, committed) => {
    await using world = await openGraph()
    const event = { subject: 'Plan', ...hour(3), transactionId: 'once-and-only-once' }
    await strike(world, { operation: 'write' }, fault)
    await expect(world.mailbox.create(event)).rejects.toThrow()
    expect(await subjects(world)).toEqual(committed)
    expect(await world.mailbox.create(event)).toMatchObject({ subject: 'Plan' })
    expect(await subjects(world)).toEqual(['Plan'])
  })

  it('of a deletion is 404 the second time, of a change shows in the change key', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const made = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const event = () => graph.api(`/me/events/${made.id}`)
    const current = String(made['@odata.etag'])
    await strike(world, { operation: 'write' }, { reset: 'after' })
    await expect(event().header('If-Match', current).patch({ subject: 'New' })).rejects.toThrow()
    expect(await refusedAs(event().header('If-Match', current).patch({ subject: 'New' }))).toBe(
      '412 ErrorIrresolvableConflict',
    )
    expect(await event().get()).toMatchObject({ subject: 'New' })
    await strike(world, { operation: 'write' }, { reset: 'after' })
    await expect(event().delete()).rejects.toThrow()
    expect(await refusedAs(event().delete())).toBe('404 ErrorItemNotFound')
  })

  it('of a subscription leaves one that can be found by listing', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    await strike(world, { operation: 'watch' }, { reset: 'after' })
    await expect(graph.api('/subscriptions').post(subscription(world))).rejects.toThrow()
    const { value } = await graph.api('/subscriptions').get()
    expect(value).toHaveLength(1)
    await strike(world, { operation: 'stop' }, { reset: 'after' })
    await expect(graph.api(`/subscriptions/${value[0].id}`).delete()).rejects.toThrow()
    expect((await graph.api('/subscriptions').get()).value).toEqual([])
  })
})

describe('a fault between two pages', () => {
  it('costs nothing: the link can be followed again', async () => {
    await using world = await openGraph()
    for (let no = 1; no <= 3; no += 1) await world.mailbox.create({ subject: `Event ${no}`, ...hour(no) })
    const { link } = await world.mailbox.round()
    await world.mailbox.create({ subject: 'New', ...hour(5) })
    for (const fault of [{ truncate: true }, { html: true }, { respond: { status: 504 } }]) {
      await strike(world, { operation: 'list', hasSyncToken: true }, fault)
      await expect(world.mailbox.round(link)).rejects.toThrow()
    }
    expect((await world.mailbox.round(link)).rows.map(({ subject }) => subject)).toEqual(['New'])
  })
})
