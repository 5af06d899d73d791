// How the simulated Microsoft delivers: repeats on the simulated clock, endpoints that become slow
// or lose what is new, what is told of that by `missed`, and the knobs that make it worse.
// learn.microsoft.com/graph/change-notifications-delivery-webhooks.
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startGraphReceiver, type GraphReceiver } from '../support/graph-receiver.ts'
import { hour, openGraph, refusedAs, type GraphWorld } from '../support/graph-sdk.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

interface Attempt {
  readonly url: string
  readonly channelId: string
  readonly attempt: number
  readonly status?: number
  readonly error?: string
}

async function open(more: object = {}) {
  const owned = new AsyncDisposableStack()
  const receiver = owned.use(await startGraphReceiver())
  const world = owned.use(await openGraph({ clock: 'manual' }))
  const { id } = await world.mailbox.graph.api('/subscriptions').post({
    changeType: 'created',
    notificationUrl: receiver.url,
    lifecycleNotificationUrl: receiver.url.replace('/graph', '/lifecycle'),
    resource: `${world.mailbox.calendar().slice(1)}/events`,
    expirationDateTime: new Date(Date.now() + 6 * 24 * HOUR_MS).toISOString(),
    clientState: 'a state of ours',
    ...more,
  })
  return {
    world,
    receiver,
    id: String(id),
    create: (subject = 'Plan') => world.mailbox.create({ subject, ...hour(3) }),
    advance: (advanceMs: number) => world.simulator.admin('POST', '/admin/clock', { advanceMs }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function attempts({ simulator }: GraphWorld): Promise<readonly Attempt[]> {
  return (await simulator.admin<{ attempts: Attempt[] }>('GET', '/admin/webhooks')).attempts
}

/** Waits until so many attempts, made or not, are in the ledger. */
function attempted(world: GraphWorld, count: number): Promise<readonly Attempt[]> {
  return eventually(`${count} attempts`, async () => {
    const all = await attempts(world)
    return all.length >= count && all
  })
}

const changes = ({ notices }: GraphReceiver) => notices.filter(({ changeType }) => changeType !== undefined)
const missed = ({ notices }: GraphReceiver) =>
  notices.filter(({ lifecycleEvent }) => lifecycleEvent === 'missed')

describe('a delivery', () => {
  test.each([500, 404, 301, 429])(
    'that is answered %i is repeated until it is taken, as the clock goes on',
    async (status) => {
      await using setting = await open()
      const { world, receiver } = setting
      receiver.status = status
      await setting.create()
      await attempted(world, 1)
      await setting.advance(10 * MINUTE_MS)
      const tries = receiver.posts.length
      expect(tries).toBeGreaterThan(3)
      expect(new Set(receiver.notices.map(({ id }) => id)).size, 'the same notification').toBe(1)
      receiver.status = 202
      await setting.advance(HOUR_MS)
      expect(receiver.posts).toHaveLength(tries + 1)
      await setting.advance(5 * HOUR_MS)
      expect([receiver.posts.length, missed(receiver).length]).toEqual([tries + 1, 0])
      expect((await attempts(world)).map(({ attempt }) => attempt)).toEqual(
        Array.from({ length: tries + 1 }, (_one, index) => index + 1),
      )
    },
  )

  test('that nobody takes for four hours is given up, and told as missed when somebody is there again', async () => {
    await using setting = await open()
    const { world, receiver } = setting
    receiver.status = 503
    await setting.create()
    await attempted(world, 1)
    await setting.advance(3 * HOUR_MS)
    expect((await attempts(world)).some(({ error }) => error === 'given-up')).toBe(false)
    await setting.advance(HOUR_MS + 2 * MINUTE_MS)
    expect((await attempts(world)).filter(({ error }) => error === 'given-up')).toHaveLength(1)
    receiver.status = 202
    receiver.posts.length = 0
    await setting.advance(HOUR_MS)
    expect([changes(receiver).length, missed(receiver).map(({ subscriptionId }) => subscriptionId)]).toEqual([
      0,
      [setting.id],
    ])
  })

  test('waits for a receiver that is down for minutes, and a change after that comes at once', async () => {
    await using setting = await open()
    const { world, receiver } = setting
    await world.simulator.admin('POST', '/admin/notifications', { retryBaseMs: 5_000 })
    receiver.status = 503
    await setting.create('while it is down')
    await attempted(world, 1)
    await setting.advance(5 * MINUTE_MS)
    receiver.status = 202
    receiver.posts.length = 0
    await setting.advance(10 * MINUTE_MS)
    expect(changes(receiver)).toHaveLength(1)
    await setting.create('afterwards')
    await eventually('the change afterwards', () => changes(receiver).length === 2)
  })

  test('is made no more often than the knob says, and a repeat is counted for each item', async () => {
    await using setting = await open({ changeType: 'created,updated' })
    const { world, receiver } = setting
    await world.simulator.admin('POST', '/admin/notifications', { retryAttemptsMax: 3 })
    receiver.status = 500
    await setting.create()
    await attempted(world, 2)
    await setting.advance(4 * HOUR_MS)
    expect(receiver.posts.filter(({ path }) => path.startsWith('/graph'))).toHaveLength(3)
    const told = (await attempts(world)).filter(({ url, attempt }) => url === receiver.url && attempt > 0)
    expect(told.map(({ attempt }) => attempt)).toEqual([1, 1, 2, 2, 3, 3])
  })

  test('of a connection that is refused is repeated too', async () => {
    await using setting = await open()
    const { world, receiver } = setting
    await receiver[Symbol.asyncDispose]()
    await setting.create()
    await attempted(world, 1)
    await setting.advance(MINUTE_MS)
    const all = await attempts(world)
    expect(all.length).toBeGreaterThan(2)
    expect(all.every(({ error, status }) => error !== undefined && status === undefined)).toBe(true)
  })
})

describe('an endpoint', () => {
  /**
   * Twenty answers, so many of them slow: held back and judged with no patience at all, so that no
   * machine is fast or slow enough.
   */
  async function slowAnswers(slow: number) {
    const owned = new AsyncDisposableStack()
    const setting = owned.use(await open())
    const { world, receiver } = setting
    await world.knobs({ slowAnswerMs: 30_000 })
    for (let no = 1; no <= 20 - slow; no += 1) {
      await setting.create()
      await attempted(world, no)
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    receiver.gate = promise
    for (let no = 21 - slow; no <= 20; no += 1) {
      await setting.create()
      await eventually('its post', () => receiver.posts.length === no)
    }
    await world.knobs({ slowAnswerMs: 1 })
    resolve()
    await attempted(world, 20)
    await world.knobs({ slowAnswerMs: 30_000 })
    const { endpoints } = await world.simulator.admin<{ endpoints: { host: string; state: string }[] }>(
      'GET',
      '/admin/subscriptions',
    )
    return {
      ...setting,
      state: endpoints[0]?.state ?? 'normal',
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    }
  }

  test('with one slow answer in ten is normal still', async () => {
    await using setting = await slowAnswers(2)
    expect(setting.state).toBe('normal')
    await setting.create()
    await eventually('the next notification', () => changes(setting.receiver).length === 21)
  })

  test('with more is slow: what is new comes ten seconds late', async () => {
    await using setting = await slowAnswers(3)
    expect(setting.state).toBe('slow')
    await setting.create()
    await setting.advance(9_000)
    expect(changes(setting.receiver)).toHaveLength(20)
    await setting.advance(2_000)
    await eventually('the notification', () => changes(setting.receiver).length === 21)
  })

  test('with yet more loses what is new, until ten minutes have passed; then it is told that it missed some', async () => {
    await using setting = await slowAnswers(4)
    const { world, receiver, id } = setting
    expect(setting.state).toBe('drop')
    await setting.create()
    await setting.create()
    expect((await attempts(world)).filter(({ error }) => error === 'endpoint-drop')).toHaveLength(2)
    await setting.advance(5 * MINUTE_MS)
    expect([changes(receiver).length, missed(receiver).length]).toEqual([20, 0])
    await setting.advance(6 * MINUTE_MS)
    expect([changes(receiver).length, missed(receiver).map((one) => one.subscriptionId)]).toEqual([20, [id]])
    await setting.create()
    await eventually('the next notification', () => changes(receiver).length === 21)
  })

  test('may never be told that it missed some', async () => {
    await using setting = await slowAnswers(4)
    await setting.world.knobs({ tellsMissed: false })
    await setting.create()
    await setting.advance(HOUR_MS)
    expect([changes(setting.receiver).length, missed(setting.receiver).length]).toEqual([20, 0])
  })
})

describe('a hint', () => {
  test('may come before its change can be read, by its id and in the delta, and then there is no other', async () => {
    await using setting = await open()
    const { world, receiver } = setting
    const { link } = await world.mailbox.round()
    await world.knobs({ invisibleForMs: MINUTE_MS, deltaLagMs: MINUTE_MS })
    await setting.create('Early')
    const [hint] = await eventually('the hint', () => changes(receiver).length > 0 && changes(receiver))
    const read = world.mailbox.graph.api(`/me/events/${hint?.resourceData?.id}`)
    expect(await refusedAs(read.get())).toBe('404 ErrorItemNotFound')
    const early = await world.mailbox.round(link)
    expect(early.rows).toEqual([])
    await setting.advance(MINUTE_MS)
    expect(await read.get()).toMatchObject({ subject: 'Early' })
    expect((await world.mailbox.round(early.link)).rows).toMatchObject([{ subject: 'Early' }])
    expect(changes(receiver)).toHaveLength(1)
  })
})

describe('the knobs of delivery', () => {
  test('drop without a word, double, and hold back', async () => {
    await using setting = await open()
    const { world, receiver } = setting
    const turn = (knobs: object) => world.simulator.admin('POST', '/admin/notifications', knobs)
    await turn({ drop: 1 })
    await setting.create('dropped')
    expect((await attempted(world, 1)).map(({ error }) => error)).toEqual(['dropped'])
    await turn({ drop: 0, duplicate: 2 })
    await setting.create('doubled')
    const copies = await eventually('the copies', () => changes(receiver).length === 3 && changes(receiver))
    expect(new Set(copies.map((one) => one.id)).size).toBe(1)
    await turn({ duplicate: 0, delayMs: 4 * HOUR_MS })
    await setting.create('four hours late')
    await setting.advance(3 * HOUR_MS)
    expect(changes(receiver)).toHaveLength(3)
    await setting.advance(HOUR_MS)
    await eventually('the late one', () => changes(receiver).length === 4)
    expect(missed(receiver), 'of what was dropped nobody is told').toEqual([])
  })

  test('let anybody claim anything: another state, a subscription that nobody knows', async () => {
    await using setting = await open()
    const { world, receiver, id } = setting
    const items = [
      { subscriptionId: id, clientState: 'guessed', changeType: 'updated' },
      { subscriptionId: 'nobody', clientState: 'guessed', changeType: 'updated' },
    ]
    await world.simulator.admin('POST', '/admin/notifications/forged', { url: receiver.url, items })
    await eventually('the forged post', () => receiver.posts.length === 1)
    expect(receiver.notices).toEqual(items)
  })
})
