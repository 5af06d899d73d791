// The room for answers: what is in hand is counted from its arrival on, small answers never wait
// behind large ones, and a wait is ours.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { createBoundedFetch } from '#shared/vendors/fetch.ts'
import { createRoom, ROOM_LIMITS } from '#shared/vendors/room.ts'
import { failureOf } from '../../../support/answering-google.ts'
import { serve } from '../../../support/odd-server.ts'

const boundedFetch = (limits: Partial<Parameters<typeof createBoundedFetch>[0]> = {}) =>
  createBoundedFetch({ vendor: 'google', ...limits })

describe('the room for answers', () => {
  const MB = 1024 * 1024
  const LIMITS = {
    ...ROOM_LIMITS,
    smallMax: MB,
    smallBytes: 4 * MB,
    largeMax: 4 * MB,
    largeBytes: 4 * MB,
    waitMs: 60_000,
  }
  const served = (bytes: number) => serve((_request, response) => response.end(Buffer.alloc(bytes, ' ')))

  test('is taken while an answer is read and given back at its end, whatever that is', async () => {
    const room = createRoom(LIMITS)
    const bounded = boundedFetch({ room })
    const whole = await served(3 * MB)
    expect((await (await bounded(whole.url)).text()).length).toBe(3 * MB)
    const tooLarge = await served(5 * MB)
    expect((await failureOf(bounded(tooLarge.url).then((response) => response.text()))).code).toBe(
      'vendor/answer-too-large',
    )
    const left = await bounded(whole.url)
    await left.body?.cancel()
    expect(room.taken()).toBe(0)
  })

  test('inside of a page is kept until the page is done, and the next waits for it; small answers do not', async () => {
    const room = createRoom(LIMITS)
    const bounded = boundedFetch({ room })
    const [large, small] = [await served(2 * MB), await served(1000)]
    const read = async (url: string) => (await (await bounded(url)).text()).length
    const stored = Promise.withResolvers<void>()
    const isRead = Promise.withResolvers<void>()
    const first = room.hold(async () => {
      await read(large.url)
      isRead.resolve()
      await stored.promise
    })
    await isRead.promise
    expect(room.taken()).toBe(LIMITS.largeMax)
    let isSecondRead = false
    const second = room.hold(async () => {
      await read(large.url)
      isSecondRead = true
    })
    for (let i = 0; i < 20; i += 1) expect(await room.hold(() => read(small.url))).toBe(1000)
    expect(isSecondRead).toBe(false)
    stored.resolve()
    await Promise.all([first, second])
    expect(isSecondRead).toBe(true)
    expect(room.taken()).toBe(0)
  })

  test("that is not there in time is our trouble: the vendor's time stands still meanwhile", async () => {
    const room = createRoom(LIMITS)
    const timeoutMs = LIMITS.waitMs / 2
    const blocker = room.holder()
    await blocker.take(2 * MB, null)
    const { url } = await served(2 * MB)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      const read = (at: string) =>
        failureOf(boundedFetch({ room, timeoutMs })(at).then((response) => response.text()))
      const refused = read(url)
      while (room.waiting() === 0) await nextTurn()
      vi.advanceTimersByTime(LIMITS.waitMs)
      expect((await refused).code).toBe('sync/no-room')
      // Control: time that passes after the wait is the vendor's again.
      const stalled = await serve((_request, response) => {
        response.writeHead(200).write(Buffer.alloc(2 * MB))
      })
      const cut = read(stalled.url)
      while (room.waiting() === 0) await nextTurn()
      vi.advanceTimersByTime(timeoutMs * 1.5)
      blocker.end()
      let isOver = false
      void cut.then(() => (isOver = true))
      while (!isOver) {
        await nextTurn()
        vi.advanceTimersByTime(timeoutMs / 10)
      }
      expect((await cut).code).toBe('vendor/timeout')
    } finally {
      vi.useRealTimers()
    }
    expect(room.taken()).toBe(0)
  })

  test('for which a vendor does not wait is our trouble too', async () => {
    const room = createRoom(LIMITS)
    const blocker = room.holder()
    await blocker.take(2 * MB, null)
    const hangUp = Promise.withResolvers<void>()
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 3 * MB }).write(Buffer.alloc(2 * MB))
      void hangUp.promise.then(() => response.destroy())
    })
    const cut = failureOf(boundedFetch({ room })(url).then((response) => response.text()))
    while (room.waiting() === 0) await nextTurn()
    hangUp.resolve()
    blocker.end()
    expect((await cut).code).toBe('sync/no-room')
    expect(room.taken()).toBe(0)
  })

  test('is waited for no longer than the caller wants', async () => {
    const room = createRoom(LIMITS)
    const blocker = room.holder()
    await blocker.take(2 * MB, null)
    const { url } = await served(2 * MB)
    const reason = new Error('the gate closed')
    const stop = new AbortController()
    const body = boundedFetch({ room })(url, { signal: stop.signal }).then((response) => response.text())
    setTimeout(() => stop.abort(reason), 50)
    await expect(body).rejects.toBe(reason)
    blocker.end()
    expect(room.taken()).toBe(0)
  })

  test('of a page that failed is kept for the calls that it gave up on, until they have ended', async () => {
    const room = createRoom(LIMITS)
    const bounded = boundedFetch({ room })
    const goOn = Promise.withResolvers<void>()
    const slow = await serve((_request, response) => {
      response.writeHead(200).write(Buffer.alloc(MB / 2))
      void goOn.promise.then(() => response.end(Buffer.alloc(2 * MB)))
    })
    const given = Promise.withResolvers<Promise<string>>()
    const page = room.hold(async () => {
      const body = (await bounded(slow.url)).text()
      while (room.taken() < MB / 2) await nextTurn()
      given.resolve(body)
      throw new Error('another call of this page failed')
    })
    await expect(page).rejects.toThrow('another call')
    expect(room.taken()).toBe(MB / 2)
    const blocker = room.holder()
    await blocker.take(2 * MB, null)
    goOn.resolve()
    // What comes now takes room like any other, so it waits while there is none.
    while (room.waiting() === 0) await nextTurn()
    blocker.end()
    expect((await given.promise).length).toBe(2.5 * MB)
    expect(room.taken()).toBe(0)
  })

  test('of a page that is asked for again holds the last try alone', async () => {
    const room = createRoom(LIMITS)
    const bounded = boundedFetch({ room })
    const { url } = await served(3 * MB)
    await room.hold(async () => {
      for (let i = 0; i < 3; i += 1) {
        room.forget()
        expect(room.taken()).toBe(0)
        await (await bounded(url)).text()
        expect(room.taken()).toBe(LIMITS.largeMax)
      }
      // Control: together they are too much for one page.
      const more = failureOf(bounded(url).then((response) => response.text()))
      expect((await more).code).toBe('vendor/answer-too-large')
    })
    expect(room.taken()).toBe(0)
  })

  test('of a body that nobody reads is given back when the call would have ended', async () => {
    const room = createRoom(LIMITS)
    const { url } = await served(MB)
    const unread = await boundedFetch({ room, timeoutMs: 300 })(url)
    expect(unread.status).toBe(200)
    while (room.taken() === 0) await nextTurn()
    while (room.taken() > 0) await nextTurn()
    expect(unread.bodyUsed).toBe(false)
  })
})
