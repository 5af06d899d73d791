// The simulated Google's push channels against
// https://developers.google.com/workspace/calendar/api/guides/push: what watch takes and refuses,
// the messages byte for byte, which answers are retried, how a channel ends.
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { eventually } from '../support/eventually.ts'
import { startTestSimulator } from '../support/simulator.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

interface Attempts {
  readonly attempts: readonly { messageNumber: number; attempt: number; status?: number; error?: string }[]
}

async function open(calendars: readonly Record<string, unknown>[] = [{}]) {
  const simulator = await startTestSimulator()
  const receiver = await startWebhookReceiver()
  const account = await simulator.addAccount({ calendars, eventsPerCalendar: 2 })
  const sdk = await simulator.sdk(account)
  await simulator.admin('POST', '/admin/notifications', { retryBaseMs: 10 })
  const events = `/admin/accounts/${account.accountId}/calendars/primary/events`
  return {
    simulator,
    receiver,
    account,
    sdk,
    change: () => simulator.admin('POST', events, {}),
    /** Waits until this many messages came, and no more than these. */
    async arrived(count: number) {
      await eventually(`${count} messages`, () => receiver.received.length >= count)
      expect(receiver.received).toHaveLength(count)
    },
    attempts: async () => (await simulator.admin<Attempts>('GET', '/admin/webhooks')).attempts,
    async [Symbol.asyncDispose]() {
      await simulator[Symbol.asyncDispose]()
      await receiver[Symbol.asyncDispose]()
    },
  }
}

function watch(sdk: calendar_v3.Calendar, body: calendar_v3.Schema$Channel) {
  const requestBody = { id: randomUUID(), type: 'web_hook', ...body }
  return sdk.events.watch({ calendarId: 'primary', requestBody })
}

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'accepted'
  } catch (error) {
    const { response } = error as {
      response?: { status: number; data: { error: { errors: { reason: string }[] } } }
    }
    if (!response) throw error
    return `${response.status} ${response.data.error.errors[0]?.reason ?? ''}`
  }
}

describe('watch', () => {
  it('answers a channel, and the first message is sync, number 1, with the documented headers and no body', async () => {
    await using world = await open()
    const { data } = await watch(world.sdk, { address: world.receiver.url, token: 'v1.k1.abc' })
    expect(data).toMatchObject({ kind: 'api#channel', token: 'v1.k1.abc', resourceId: expect.any(String) })
    expect(data.expiration).toMatch(/^\d{13}$/)
    await world.arrived(1)
    await world.change()
    await world.arrived(2)
    const [sync, exists] = world.receiver.received
    expect(sync).toMatchObject({
      method: 'POST',
      body: '',
      headers: {
        'content-type': 'application/json; utf-8',
        'content-length': '0',
        'x-goog-channel-id': data.id,
        'x-goog-message-number': '1',
        'x-goog-resource-id': data.resourceId,
        'x-goog-resource-state': 'sync',
        'x-goog-resource-uri': data.resourceUri,
        'x-goog-channel-token': 'v1.k1.abc',
        'x-goog-channel-expiration': new Date(Number(data.expiration)).toUTCString(),
      },
    })
    expect(exists?.headers['x-goog-resource-state']).toBe('exists')
    expect(Number(exists?.headers['x-goog-message-number'])).toBeGreaterThan(1)
  })

  it.each([
    ['before', true],
    ['after', false],
  ] as const)('sends sync %s the answer when told to', async (syncMessage, early) => {
    await using world = await open()
    await world.simulator.admin('POST', '/admin/notifications', { syncMessage })
    await world.simulator.admin('POST', '/admin/latency', { ms: 0 })
    await watch(world.sdk, { address: world.receiver.url })
    expect(world.receiver.received.length === 1).toBe(early)
    await world.arrived(1)
  })

  it('lives 7 days at most, and no longer than asked', async () => {
    await using world = await open()
    const { url: address } = world.receiver
    const life = async (params?: Record<string, string>) => {
      const { data } = await watch(world.sdk, { address, ...(params ? { params } : {}) })
      return Math.round((Number(data.expiration) - Date.now()) / 60_000)
    }
    expect(await life()).toBe(7 * 24 * 60)
    expect(await life({ ttl: '6000000' })).toBe(7 * 24 * 60)
    expect(await life({ ttl: '3600' })).toBe(60)
  })

  it('refuses what Google refuses', async () => {
    await using world = await open([{ primary: true }, { pushSupported: false, id: 'holidays' }])
    const { url: address } = world.receiver
    const taken = { id: 'taken-1', address }
    expect(await reasonOf(watch(world.sdk, taken))).toBe('accepted')
    expect(await reasonOf(watch(world.sdk, taken))).toBe('400 channelIdNotUnique')
    expect(await reasonOf(watch(world.sdk, { id: 'a.b', address }))).toBe('400 invalid')
    expect(await reasonOf(watch(world.sdk, { id: 'x'.repeat(65), address }))).toBe('400 invalid')
    expect(await reasonOf(watch(world.sdk, { address, token: 'x'.repeat(257) }))).toBe('400 invalid')
    expect(await reasonOf(watch(world.sdk, { address: 'http://example.com/x' }))).toBe(
      '400 push.webhookUrlNotHttps',
    )
    expect(await reasonOf(watch(world.sdk, { address, type: 'email' }))).toBe(
      '400 push.channelTypeNotSupported',
    )
    const holidays = { id: randomUUID(), type: 'web_hook', address }
    expect(await reasonOf(world.sdk.events.watch({ calendarId: 'holidays', requestBody: holidays }))).toBe(
      '400 pushNotSupportedForRequestedResource',
    )
  })

  it('refuses plain http callbacks unless the simulator was started for them', async () => {
    await using strict = await startTestSimulator({ allowHttpCallbacks: false })
    const sdk = await strict.sdk(await strict.addAccount())
    expect(await reasonOf(watch(sdk, { address: 'http://127.0.0.1:1/x' }))).toBe(
      '400 push.webhookUrlNotHttps',
    )
  })
})

describe('delivery', () => {
  it('retries 503 until it is taken, with the same number', async () => {
    await using world = await open()
    await world.simulator.admin('POST', '/admin/notifications', { syncMessage: 'before' })
    await watch(world.sdk, { address: world.receiver.url })
    world.receiver.answer = (index) => (index < 3 ? 503 : 202)
    await world.change()
    await world.arrived(4)
    const attempts = (await world.attempts()).filter(({ messageNumber }) => messageNumber !== 1)
    expect(attempts.map(({ attempt, status }) => [attempt, status])).toEqual([
      [1, 503],
      [2, 503],
      [3, 202],
    ])
    expect(new Set(attempts.map(({ messageNumber }) => messageNumber)).size).toBe(1)
  })

  it('does not repeat a message that was answered with 403', async () => {
    await using world = await open()
    await world.simulator.admin('POST', '/admin/notifications', { syncMessage: 'before' })
    await watch(world.sdk, { address: world.receiver.url })
    world.receiver.answer = (index) => (index === 1 ? 403 : 202)
    await world.change()
    await world.arrived(2)
    await world.change()
    await world.arrived(3)
    const numbers = world.receiver.received.map(({ headers }) => Number(headers['x-goog-message-number']))
    expect(new Set(numbers).size).toBe(3)
    expect((await world.attempts()).map(({ status }) => status)).toEqual([202, 403, 202])
  })

  it('numbers messages upwards, not one by one', async () => {
    await using world = await open()
    await world.simulator.admin('POST', '/admin/notifications', { syncMessage: 'before' })
    await watch(world.sdk, { address: world.receiver.url })
    for (let change = 0; change < 20; change += 1) await world.change()
    await world.arrived(21)
    const numbers = world.receiver.received
      .map(({ headers }) => Number(headers['x-goog-message-number']))
      .toSorted((a, b) => a - b)
    expect(new Set(numbers).size).toBe(21)
    expect(numbers.at(-1)).toBeGreaterThan(21)
  })

  it('drops, doubles, holds back and invents messages when told to', async () => {
    await using world = await open()
    const { data } = await watch(world.sdk, { address: world.receiver.url })
    await world.arrived(1)
    await world.simulator.admin('POST', '/admin/notifications', { drop: 1 })
    await world.change()
    await world.simulator.admin('POST', '/admin/notifications', { drop: 0, duplicate: 2 })
    await world.change()
    await world.arrived(4)
    expect((await world.attempts()).filter(({ error }) => error === 'dropped')).toHaveLength(1)
    await world.simulator.admin('POST', '/admin/notifications', { duplicate: 0, paused: true })
    await world.change()
    await world.simulator.admin('POST', '/admin/webhooks/send', {
      channelId: data.id,
      copies: 2,
      messageNumber: 77,
    })
    expect(await world.simulator.admin('GET', '/admin/channels')).toMatchObject({ pending: 3 })
    expect(world.receiver.received).toHaveLength(4)
    await world.simulator.admin('POST', '/admin/notifications', { paused: false })
    await world.arrived(7)
    const forged = world.receiver.received.filter(({ headers }) => headers['x-goog-message-number'] === '77')
    expect(forged).toHaveLength(2)
  })
})

describe('stop', () => {
  it('ends a channel for its own user only; afterwards it is unknown and its id is never free again', async () => {
    await using world = await open()
    await world.simulator.admin('POST', '/admin/notifications', { syncMessage: 'before' })
    const { data } = await watch(world.sdk, { address: world.receiver.url })
    const requestBody = { id: data.id ?? '', resourceId: data.resourceId ?? '' }
    const stranger = await world.simulator.sdk(await world.simulator.addAccount())
    expect(await reasonOf(stranger.channels.stop({ requestBody }))).toBe('404 notFound')
    expect(
      await reasonOf(world.sdk.channels.stop({ requestBody: { ...requestBody, resourceId: 'x' } })),
    ).toBe('404 notFound')
    await world.change()
    await world.arrived(2)
    expect((await world.sdk.channels.stop({ requestBody })).status).toBe(204)
    await world.change()
    expect(await world.simulator.admin('GET', '/admin/channels')).toMatchObject({ channels: [], pending: 0 })
    expect(world.receiver.received).toHaveLength(2)
    expect(await reasonOf(world.sdk.channels.stop({ requestBody }))).toBe('404 notFound')
    expect(await reasonOf(watch(world.sdk, { id: data.id ?? '', address: world.receiver.url }))).toBe(
      '400 channelIdNotUnique',
    )
  })
})
