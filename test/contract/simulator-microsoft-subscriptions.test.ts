// The simulated Microsoft's subscriptions against
// learn.microsoft.com/graph/change-notifications-delivery-webhooks, with the official Graph SDK as
// client and a real receiver: validation, life, what is refused, what a notification says, and
// lifecycle notifications.
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGraphReceiver, type GraphReceiver } from '../support/graph-receiver.ts'
import { DAY_MS, type GraphWorld, hour, IMMUTABLE, openGraph, refusedAs } from '../support/graph-sdk.ts'

const MINUTE_MS = 60_000

/** So many milliseconds from now. */
function soon(ms: number): string {
  return new Date(Date.now() + ms).toISOString()
}

function wanted(world: GraphWorld, url: string, more: object = {}) {
  return {
    changeType: 'created,updated,deleted',
    notificationUrl: url,
    lifecycleNotificationUrl: url.replace('/graph', '/lifecycle'),
    resource: `${world.mailbox.calendar().slice(1)}/events`,
    expirationDateTime: new Date(Date.now() + DAY_MS).toISOString(),
    clientState: 'a state of ours',
    ...more,
  }
}

async function subscribe(world: GraphWorld, receiver: GraphReceiver, more: object = {}): Promise<string> {
  const body = wanted(world, receiver.url, more)
  const made = await world.mailbox.graph.api('/subscriptions').header('Prefer', IMMUTABLE).post(body)
  return made.id
}

const told = (receiver: GraphReceiver, count: number) =>
  eventually(`${count} notices`, () => receiver.notices.length >= count && [...receiver.notices])

const lifecycle = (receiver: GraphReceiver, event: string) =>
  eventually(`the lifecycle notice ${event}`, () =>
    receiver.notices.find(({ lifecycleEvent }) => lifecycleEvent === event),
  )

describe('a subscription', () => {
  test('comes to be once both addresses echo the decoded token, is renewed, listed, and gone after DELETE', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const { graph } = world.mailbox
    const made = await graph.api('/subscriptions').post(wanted(world, receiver.url))
    expect(made).toMatchObject({
      resource: `${world.mailbox.calendar().slice(1)}/events`,
      changeType: 'created,updated,deleted',
      clientState: 'a state of ours',
      includeResourceData: null,
    })
    const [first = '', second = ''] = receiver.validations
    expect(first).toMatch(/^\/graph\?tenant=1&validationToken=.*%20.*%2B/)
    expect(second).toMatch(/^\/lifecycle\?tenant=1&validationToken=/)
    const later = new Date(Date.now() + 2 * DAY_MS).toISOString()
    const renewed = await graph.api(`/subscriptions/${made.id}`).patch({ expirationDateTime: later })
    expect(renewed.expirationDateTime).toBe(later)
    expect((await graph.api('/subscriptions').get()).value).toMatchObject([{ id: made.id }])
    expect((await (await world.join()).graph.api('/subscriptions').get()).value).toEqual([])
    await graph.api(`/subscriptions/${made.id}`).delete()
    expect(await refusedAs(graph.api(`/subscriptions/${made.id}`).get())).toBe('404 ResourceNotFound')
    expect(receiver.validations, 'a renewal does not validate').toHaveLength(2)
  })

  test('beyond the limit is refused in the words that are reported; its notifications may come unsigned', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    await world.simulator.admin('POST', '/admin/microsoft', { subscriptionsMax: 1, tellsClientState: false })
    await subscribe(world, receiver)
    const refused: string[] = []
    for (const subscriptionLimit of ['mailbox', 'count', 'tenant']) {
      await world.simulator.admin('POST', '/admin/microsoft', { subscriptionLimit })
      refused.push(await refusedAs(graph.api('/subscriptions').post(wanted(world, receiver.url))))
    }
    expect(refused).toEqual(['403 ExtensionError', '429 ExtensionError', '403 ExtensionError'])
    const path = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]!.id)}`
    await world.simulator.admin('POST', `${path}/events`, {})
    const [notice] = await told(receiver, 1)
    expect(notice).toMatchObject({ clientState: null, changeType: 'created' })
  })

  test.each(['encoded', 'html', 'forbidden'] as const)(
    'is refused where the token comes back %s',
    async (echo) => {
      await using receiver = await startGraphReceiver()
      receiver.echo = echo
      await using world = await openGraph()
      const made = world.mailbox.graph.api('/subscriptions').post(wanted(world, receiver.url))
      expect(await refusedAs(made)).toBe('400 ValidationError')
      expect((await world.mailbox.graph.api('/subscriptions').get()).value).toEqual([])
    },
  )

  test.each([
    ['more than 10 070 minutes', { expirationDateTime: soon(8 * DAY_MS) }, '400 ExtensionError'],
    ['a time that is past', { expirationDateTime: soon(-DAY_MS) }, '400 InvalidRequest'],
    ['an unknown kind of change', { changeType: 'created,moved' }, '400 InvalidRequest'],
    ['a client state of 129 characters', { clientState: 'x'.repeat(129) }, '400 InvalidRequest'],
    ['an unknown calendar', { resource: 'me/calendars/none/events' }, '404 ResourceNotFound'],
    ['one event', { resource: 'me/events/abc' }, '404 ResourceNotFound'],
    ['an address without TLS elsewhere', { notificationUrl: 'http://example.com/x' }, '400 InvalidRequest'],
    ['nobody who answers', { notificationUrl: 'http://127.0.0.1:1/' }, '400 InvalidRequest'],
  ])('is refused for %s', async (_what, more, expected) => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const made = world.mailbox.graph.api('/subscriptions').post(wanted(world, receiver.url, more))
    expect(await refusedAs(made)).toBe(expected)
  })

  test('of a calendar that is somebody else’s is 403 ExtensionError', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const { graph, account } = await world.join({ calendars: [{}, { pushSupported: false }] })
    const resource = `me/calendars/${encodeURIComponent(account.calendars[1]?.id ?? '')}/events`
    const made = graph.api('/subscriptions').post(wanted(world, receiver.url, { resource }))
    expect(await refusedAs(made)).toBe('403 ExtensionError')
  })

  test('lives 45 minutes at least, ends by itself, and then tells nothing more', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph({ clock: 'manual' })
    const { graph } = world.mailbox
    const body = wanted(world, receiver.url, { expirationDateTime: soon(MINUTE_MS) })
    const made = await graph.api('/subscriptions').post(body)
    const minutes = (Date.parse(made.expirationDateTime) - Date.now()) / MINUTE_MS
    expect(Math.round(minutes)).toBeGreaterThanOrEqual(44)
    await world.mailbox.create({ subject: 'Told', ...hour(3) })
    await told(receiver, 2)
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 50 * MINUTE_MS })
    expect(await refusedAs(graph.api(`/subscriptions/${made.id}`).get())).toBe('404 ResourceNotFound')
    expect((await graph.api('/subscriptions').get()).value).toEqual([])
    await world.mailbox.create({ subject: 'Not told', ...hour(3) })
    const { pending } = await world.simulator.admin<{ pending: number }>('GET', '/admin/subscriptions')
    expect([pending, receiver.notices.length]).toEqual([0, 2])
  })

  test('that ended may be told of by another code, and a renewal may ask for the echo again', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    await world.knobs({ unknownSubscription: 'ExtensionError', renewalValidates: true })
    const renew = (id: string) =>
      world.mailbox.graph.api(`/subscriptions/${id}`).patch({ expirationDateTime: soon(2 * DAY_MS) })
    expect(await refusedAs(renew('none'))).toBe('404 ExtensionError')
    const id = await subscribe(world, receiver)
    await renew(id)
    expect(receiver.validations).toHaveLength(4)
    receiver.echo = 'html'
    expect(await refusedAs(renew(id))).toBe('400 ValidationError')
  })
})

describe('a notification', () => {
  test('tells a creation as created and updated, with the client state, in the form of id of its subscription', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const id = await subscribe(world, receiver)
    const event = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const notices = await told(receiver, 2)
    expect(notices.map(({ changeType }) => String(changeType)).toSorted()).toEqual(['created', 'updated'])
    const immutable = await world.mailbox.immutableId(event.id)
    for (const notice of notices) {
      expect(notice).toMatchObject({ subscriptionId: id, clientState: 'a state of ours' })
      expect(notice.resourceData?.id).toBe(immutable)
      expect(notice.resource).toMatch(/^(?:Users\/\w+\/Events\/|users\('\w+'\)\/events\(')/)
    }
    expect(receiver.posts[0]?.path, 'the query of the address stays').toBe('/graph?tenant=1')
  })

  test('tells a move as deleted here and created there, each under its own mutable id', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    const event = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    for (const index of [0, 1]) {
      const resource = `${world.mailbox.calendar(index).slice(1)}/events`
      await graph.api('/subscriptions').post(wanted(world, receiver.url, { resource }))
    }
    const to = { destinationId: account.calendars[1]?.id }
    const moved = await graph.api(`/me/events/${event.id}/move`).post(to)
    const notices = await told(receiver, 3)
    const seen = notices.map((notice) => `${notice.changeType} ${notice.resourceData?.id}`)
    expect(new Set(seen)).toEqual(
      new Set([`deleted ${event.id}`, `created ${moved.id}`, `updated ${moved.id}`]),
    )
  })

  test('comes as often as bursts are long, each with an id of its own, for the kinds that were asked for only', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/notifications', { perChange: 3 })
    await subscribe(world, receiver, { changeType: 'updated' })
    const { id } = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    await world.mailbox.graph.api(`/me/events/${id}`).patch({ subject: 'Another' })
    const notices = await told(receiver, 6)
    expect(new Set(notices.map((notice) => notice.changeType))).toEqual(new Set(['updated']))
    expect(new Set(notices.map((notice) => notice.id)).size).toBe(6)
    await world.mailbox.graph.api(`/me/events/${id}`).delete()
    const { pending } = await world.simulator.admin<{ pending: number }>('GET', '/admin/subscriptions')
    expect([pending, receiver.notices.length], 'a deletion was not asked for').toEqual([0, 6])
  })

  test('shares a post with those of other subscriptions, people included', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const other = await world.join()
    await world.simulator.admin('POST', '/admin/notifications', { paused: true })
    const ids = [await subscribe(world, receiver)]
    const resource = `${other.calendar().slice(1)}/events`
    ids.push((await other.graph.api('/subscriptions').post(wanted(world, receiver.url, { resource }))).id)
    await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    await other.create({ subject: 'Plan', ...hour(3) })
    await world.simulator.admin('POST', '/admin/notifications', { paused: false })
    await told(receiver, 4)
    expect(receiver.posts).toHaveLength(1)
    expect(new Set(receiver.notices.map(({ subscriptionId }) => subscriptionId))).toEqual(new Set(ids))
  })
})

describe('lifecycle notifications', () => {
  test('tell of a removal, and the subscription is gone', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const id = await subscribe(world, receiver)
    await world.simulator.admin('POST', '/admin/lifecycle', {
      event: 'subscriptionRemoved',
      subscriptionId: id,
    })
    const notice = await lifecycle(receiver, 'subscriptionRemoved')
    expect(notice).toMatchObject({ subscriptionId: id, clientState: 'a state of ours' })
    expect(receiver.posts[0]?.path).toBe('/lifecycle?tenant=1')
    expect(await refusedAs(world.mailbox.graph.api(`/subscriptions/${id}`).get())).toBe(
      '404 ResourceNotFound',
    )
  })

  test.each(['reauthorize', 'renew'])(
    'ask for authorization, and what came meanwhile follows on %s',
    async (how) => {
      await using receiver = await startGraphReceiver()
      await using world = await openGraph()
      const id = await subscribe(world, receiver)
      const event = 'reauthorizationRequired'
      await world.simulator.admin('POST', '/admin/lifecycle', { event, subscriptionId: id })
      await lifecycle(receiver, event)
      await world.mailbox.create({ subject: 'Plan', ...hour(3) })
      const held = await world.simulator.admin<{ pending: number }>('GET', '/admin/subscriptions')
      expect([held.pending, receiver.notices.length]).toEqual([2, 1])
      const subscription = world.mailbox.graph.api(`/subscriptions/${id}`)
      if (how === 'renew') await subscription.patch({ expirationDateTime: soon(2 * DAY_MS) })
      else await world.mailbox.graph.api(`/subscriptions/${id}/reauthorize`).post({})
      expect((await told(receiver, 3)).slice(1).map(({ changeType }) => changeType)).toEqual([
        'created',
        'updated',
      ])
    },
  )

  test('keep what came meanwhile for four hours; beyond that it is missed', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph({ clock: 'manual' })
    const id = await subscribe(world, receiver)
    const event = 'reauthorizationRequired'
    await world.simulator.admin('POST', '/admin/lifecycle', { event, subscriptionId: id })
    await lifecycle(receiver, event)
    await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 5 * 3_600_000 })
    const { graph } = await world.again(world.mailbox)
    await graph.api(`/subscriptions/${id}/reauthorize`).post({})
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 2 * MINUTE_MS })
    expect((await lifecycle(receiver, 'missed')).subscriptionId).toBe(id)
    expect(receiver.notices.filter(({ changeType }) => changeType !== undefined)).toEqual([])
  })

  test('are not sent to who gave no address for them', async () => {
    await using receiver = await startGraphReceiver()
    await using world = await openGraph()
    const id = await subscribe(world, receiver, { lifecycleNotificationUrl: undefined })
    expect(receiver.validations).toHaveLength(1)
    await world.simulator.admin('POST', '/admin/lifecycle', { event: 'missed', subscriptionId: id })
    await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const notices = await told(receiver, 2)
    expect(notices.every(({ lifecycleEvent }) => lifecycleEvent === undefined)).toBe(true)
  })
})
