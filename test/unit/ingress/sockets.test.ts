// The parts that bound sockets and bodies, each by itself: cuts, clients, places, room.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clientOf, inNetworks, isNetwork } from '../../../services/ingress/sockets/addresses.ts'
import {
  createBodyRoom,
  GRACE_MS,
  LARGE_ROOM_BYTES,
  ROOM_BYTES,
  SLOWEST_BYTES_PER_S,
  SMALL_BODY_BYTES,
} from '../../../services/ingress/sockets/body-room.ts'
import type { Activity } from '../../../services/ingress/sockets/guarded-socket.ts'
import { leadingLineEnds, nextPiece, type Stage } from '../../../services/ingress/sockets/pieces.ts'
import { createPlaces, type Visitor } from '../../../services/ingress/sockets/places.ts'
import type { Reason } from '../../../services/ingress/sockets/turned-away.ts'
import { ACCEPTED_PER_TASK, createTurns } from '../../../services/ingress/sockets/turns.ts'

/** All pieces of a text that arrives in these parts, while the stage stays the same. */
function piecesOf(parts: readonly string[], stage: Stage): string[] {
  const pieces: string[] = []
  let lineIsEmpty = false
  for (const part of parts) {
    let rest = Buffer.from(part)
    while (rest.length > 0) {
      const piece = nextPiece(rest, stage, lineIsEmpty)
      pieces.push(rest.toString('latin1', 0, piece.length))
      lineIsEmpty = piece.lineIsEmpty
      rest = rest.subarray(piece.length)
    }
  }
  return pieces
}

describe('a piece', () => {
  const requests = Array.from({ length: 5 }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: x\r\n\r\n`)

  test.each(['\r\n', '\n'])('of a head ends with its empty line, wherever reads break it (%j)', (end) => {
    const text = requests.join('').replaceAll('\r\n', end)
    fc.assert(
      fc.property(fc.array(fc.nat({ max: text.length }), { maxLength: 8 }), (breaks) => {
        const at = [0, ...breaks.toSorted((a, b) => a - b), text.length]
        const parts = at.slice(1).map((to, n) => text.slice(at[n], to))
        const pieces = piecesOf(parts, { kind: 'head' })
        expect(pieces.join('')).toBe(text)
        // No piece goes on behind the end of a head.
        for (const piece of pieces)
          expect(piece.indexOf(`${end}${end}`)).toBeOneOf([-1, piece.length - 2 * end.length])
        for (const piece of pieces) expect(piece.slice(0, -1)).not.toMatch(/[\r\n]GET/)
      }),
    )
  })

  test('of a sized body is what is left of it, without a look at its lines', () => {
    const body = Buffer.from('\n\n\n\nGET / HTTP/1.1\r\n\r\n')
    expect(nextPiece(body, { kind: 'sized', left: 4 }, true).length).toBe(4)
    expect(nextPiece(body, { kind: 'sized', left: 1000 }, true).length).toBe(body.length)
  })

  test('of a chunked body ends behind an empty line, but is never so short that empty lines are costly', () => {
    const end = `${'a'.repeat(100)}\r\n0\r\n\r\n`
    expect(piecesOf([`${end}GET / HTTP/1.1\r\n\r\n`], { kind: 'chunked', cuts: 0 })[0]).toBe(end)
    const pieces = piecesOf(['\r\n'.repeat(2000)], { kind: 'chunked', cuts: 1000 })
    expect(pieces.length).toBeLessThan(70)
  })

  test('does not begin with line ends before a request', () => {
    expect(leadingLineEnds(Buffer.from('\r\n\n\r\nGET'))).toBe(5)
    expect(leadingLineEnds(Buffer.from('GET'))).toBe(0)
  })
})

describe('a client', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['unknown', 'unknown'],
    ['x'.repeat(1000), 'x'.repeat(64)],
    ['', ''],
  ])('of %s is %s', (address, client) => {
    expect(clientOf(address)).toBe(client)
  })

  test('is a proxy when it lies in one of the networks', () => {
    const isProxy = inNetworks(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32'])
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '192.0.2.7', '2001:db8:9::1'])
      expect(isProxy(address), address).toBe(true)
    for (const address of ['11.1.2.3', '192.0.2.8', '2001:db9::1', '', 'unknown'])
      expect(isProxy(address), address).toBe(false)
  })

  test('networks are recognised, anything else is not', () => {
    for (const good of ['10.0.0.0/8', '192.0.2.7', '::1', '2001:db8::/32', '0.0.0.0/0'])
      expect(isNetwork(good), good).toBe(true)
    for (const bad of [
      '',
      '10.0.0.0/33',
      '10.0.0/8',
      '::/129',
      '10.0.0.0/8/8',
      '10.0.0.0/x',
      'proxy',
      '10.0.0.0/-1',
    ])
      expect(isNetwork(bad), bad).toBe(false)
  })
})

class FakeVisitor implements Visitor {
  readonly remoteAddress: string
  activity: Activity = 'idle'
  isClosed = false
  readonly #listeners = new Map<string, () => void>()

  constructor(remoteAddress: string) {
    this.remoteAddress = remoteAddress
  }

  on(event: string, listener: () => void): void {
    this.#listeners.set(event, listener)
  }

  turn(activity: Activity): void {
    this.activity = activity
    this.#listeners.get('activity')?.()
  }

  destroy(): void {
    this.isClosed = true
    this.#listeners.get('close')?.()
  }
}

function hall(max: number, perClientMax: number) {
  const counted: Reason[] = []
  const isTrusted = (address: string) => address.startsWith('10.')
  const places = createPlaces(
    { max, perClientMax, isTrusted },
    { count: (reason) => void counted.push(reason) },
  )
  const enter = (address: string, activity: Activity = 'idle') => {
    const visitor = new FakeVisitor(address)
    visitor.activity = activity
    return { visitor, isIn: places.enter(visitor) }
  }
  return { places, counted, enter }
}

describe('places', () => {
  test('the one that waits longest gives way, and a first byte is a new beginning', () => {
    const { enter, places, counted } = hall(3, 3)
    const [a, b, c] = ['1.1.1.1', '2.2.2.2', '3.3.3.3'].map((address) => enter(address).visitor)
    a!.turn('receiving')
    expect(enter('4.4.4.4').isIn).toBe(true)
    expect([a!.isClosed, b!.isClosed, c!.isClosed]).toEqual([false, true, false])
    expect(places.open).toBe(3)
    expect(counted).toEqual(['gave_way'])
  })

  test('a socket whose answer is open never gives way; with nobody else, the newcomer is refused', () => {
    const { enter, counted } = hall(2, 2)
    const busy = ['1.1.1.1', '2.2.2.2'].map((address) => enter(address, 'answering').visitor)
    expect(enter('3.3.3.3').isIn).toBe(false)
    expect(counted).toEqual(['full'])
    busy[0]!.turn('idle')
    expect(enter('3.3.3.3').isIn).toBe(true)
    expect(busy.map((one) => one.isClosed)).toEqual([true, false])
  })

  test('of a client at its bound its own sockets give way, of nobody else', () => {
    const { enter, places, counted } = hall(10, 2)
    const other = enter('9.9.9.9').visitor
    const own = ['1.1.1.1', '1.1.1.1'].map((address) => enter(address).visitor)
    expect(enter('1.1.1.1').isIn).toBe(true)
    expect([other.isClosed, ...own.map((one) => one.isClosed)]).toEqual([false, true, false])
    own[1]!.turn('answering')
    const third = enter('1.1.1.1', 'answering')
    expect(third.isIn).toBe(true)
    expect(enter('1.1.1.1').isIn).toBe(false)
    expect(counted.at(-1)).toBe('address_full')
    expect(places.open).toBe(3)
  })

  test('one client with many sockets never pushes out others, however many newcomers it sends', () => {
    const { enter, places } = hall(20, 15)
    const honest = ['1.1.1.1', '1.1.1.1', '2.2.2.2'].map((address) => enter(address).visitor)
    for (let n = 0; n < 200; n += 1) expect(enter('6.6.6.6').isIn).toBe(true)
    for (let n = 0; n < 200; n += 1) expect(enter(`7.7.7.${n % 2}`).isIn).toBe(true)
    expect(honest.map((one) => one.isClosed)).toEqual([false, false, false])
    expect(places.open).toBe(20)
  })

  test('a trusted proxy has no bound of its own, and gives way after others', () => {
    const { enter, places } = hall(6, 2)
    const proxied = Array.from({ length: 4 }, () => enter('10.0.0.1').visitor)
    const strangers = ['6.6.6.6', '6.6.6.6'].map((address) => enter(address).visitor)
    expect(enter('10.0.0.1').isIn).toBe(true)
    expect(proxied.some((one) => one.isClosed)).toBe(false)
    expect(strangers.map((one) => one.isClosed)).toEqual([true, false])
    expect(places.open).toBe(6)
  })

  test('what is closed leaves its place, once', () => {
    const { enter, places } = hall(5, 5)
    const all = Array.from({ length: 5 }, () => enter('1.1.1.1').visitor)
    for (const one of all) one.destroy()
    for (const one of all) one.turn('idle')
    for (const one of all) one.destroy()
    expect(places.open).toBe(0)
    expect(enter('1.1.1.1').isIn).toBe(true)
  })

  test('neither bound is ever passed, whatever happens', () => {
    const step = fc.record({
      who: fc.nat({ max: 5 }),
      what: fc.constantFrom('enter', 'enter', 'idle', 'receiving', 'answering', 'close'),
      which: fc.nat({ max: 9 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { enter, places } = hall(8, 3)
        const all: FakeVisitor[] = []
        for (const { who, what, which } of steps) {
          const one = all[which % Math.max(1, all.length)]
          if (what === 'enter') {
            const { visitor, isIn } = enter(`1.1.1.${who}`)
            if (isIn) all.push(visitor)
          } else if (what === 'close') one?.destroy()
          else if (one && !one.isClosed) one.turn(what as Activity)
          const open = all.filter((visitor) => !visitor.isClosed)
          expect(places.open).toBe(open.length)
          expect(open.length).toBeLessThanOrEqual(8)
          for (const mine of Map.groupBy(open, ({ remoteAddress }) => remoteAddress).values())
            expect(mine.length).toBeLessThanOrEqual(3)
        }
      }),
    )
  })
})

function roomAt(at: { ms: number }) {
  const room = createBodyRoom(() => at.ms)
  const open = () => {
    const given: string[] = []
    return { ...room.open((why) => void given.push(why)), given }
  }
  return { room, open }
}

const KIND = SMALL_BODY_BYTES

describe('the room for bodies', () => {
  test('counts what arrived: thousands that announce and send a byte take thousands of bytes', () => {
    const { room, open } = roomAt({ ms: 0 })
    for (let n = 0; n < 5_000; n += 1) expect(open().take(1)).toBe(true)
    expect(room.held).toEqual({ bytes: 5_000, large: 0, arriving: 5_000 })
  })

  test('large bodies never take the share of small ones', () => {
    const { open } = roomAt({ ms: 0 })
    let taken = 0
    for (let n = 0; n < 100; n += 1) {
      const body = open()
      if (body.take(1_048_576)) taken += 1
      body.complete()
    }
    expect(taken).toBe(Math.floor(LARGE_ROOM_BYTES / (1_048_576 - KIND)))
    for (let n = 0; n < (ROOM_BYTES - LARGE_ROOM_BYTES) / KIND - taken; n += 1)
      expect(open().take(KIND)).toBe(true)
  })

  test('the body that has been arriving longest gives way to one that needs the room', () => {
    const { room, open } = roomAt({ ms: 0 })
    const slow = Array.from({ length: ROOM_BYTES / KIND }, open)
    for (const one of slow) expect(one.take(KIND)).toBe(true)
    const honest = open()
    expect(honest.take(KIND)).toBe(true)
    expect(slow.map(({ given }) => given.length).slice(0, 3)).toEqual([1, 0, 0])
    expect(slow[0]!.given).toEqual(['no_room'])
    // What gave way has nothing any more and gives nothing back.
    expect(slow[0]!.take(1)).toBe(false)
    slow[0]!.release()
    expect(room.held.bytes).toBe(ROOM_BYTES)
  })

  test('a large body makes large ones give way, and no small one', () => {
    const { open } = roomAt({ ms: 0 })
    const small = open()
    small.take(KIND)
    const large = Array.from({ length: 30 }, open)
    for (const one of large) one.take(1_048_576)
    expect(small.given).toEqual([])
    expect(large[0]!.given).toEqual(['no_room'])
    expect(large.at(-1)!.given).toEqual([])
  })

  test('whole bodies give way to nobody: with only these the newcomer is refused, until one is answered', () => {
    const { room, open } = roomAt({ ms: 0 })
    const whole = Array.from({ length: ROOM_BYTES / KIND }, open)
    for (const one of whole) {
      one.take(KIND)
      one.complete()
    }
    expect(open().take(1)).toBe(false)
    whole[0]!.release()
    whole[0]!.release()
    expect(open().take(KIND)).toBe(true)
    expect(room.held.bytes).toBe(ROOM_BYTES)
  })

  test('what comes below the rate is given up after its grace, what keeps it is not', () => {
    const at = { ms: 0 }
    const { room, open } = roomAt(at)
    const [stalled, slow, steady] = [open(), open(), open()]
    slow.take(100)
    steady.take(SLOWEST_BYTES_PER_S * 2)
    at.ms = GRACE_MS - 1
    room.sweep()
    expect([stalled, slow, steady].map(({ given }) => given)).toEqual([[], [], []])
    at.ms = GRACE_MS + 1
    room.sweep()
    expect([stalled, slow, steady].map(({ given }) => given)).toEqual([['too_slow'], ['too_slow'], []])
    at.ms = 2_001
    room.sweep()
    expect(steady.given).toEqual(['too_slow'])
    expect(room.held).toEqual({ bytes: 0, large: 0, arriving: 0 })
  })

  test('never holds more than its bytes and gives all of them back', () => {
    const step = fc.record({
      which: fc.nat({ max: 60 }),
      what: fc.constantFrom('take', 'take', 'take', 'complete', 'release'),
      bytes: fc.constantFrom(1, 4096, KIND, 900_000, 1_048_576),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { room, open } = roomAt({ ms: 0 })
        const bodies = Array.from({ length: 61 }, open)
        for (const { which, what, bytes } of steps) {
          const body = bodies[which]!
          if (what === 'take') body.take(bytes)
          else body[what]()
          expect(room.held.bytes).toBeLessThanOrEqual(ROOM_BYTES)
          expect(room.held.large).toBeLessThanOrEqual(LARGE_ROOM_BYTES)
        }
        for (const body of bodies) body.release()
        expect(room.held).toEqual({ bytes: 0, large: 0, arriving: 0 })
      }),
    )
  })
})

describe('turns', () => {
  /** Carries out one turn of the event loop at a time. */
  function loop(): { soon: (task: () => void) => void; turn: () => void } {
    const due: (() => void)[] = []
    return { soon: (task) => void due.push(task), turn: () => due.shift()?.() }
  }

  test('carry out one task each, first come first served', () => {
    const { soon, turn } = loop()
    const turns = createTurns(soon)
    const done: number[] = []
    for (const n of [1, 2, 3]) turns.take(() => void done.push(n))
    turn()
    expect(done).toEqual([1])
    turn()
    turn()
    expect(done).toEqual([1, 2, 3])
  })

  test('go to newcomers first, but not for ever', () => {
    const { soon, turn } = loop()
    const turns = createTurns(soon)
    let isDone = false
    turns.take(() => (isDone = true))
    for (let n = 0; n < ACCEPTED_PER_TASK; n += 1) {
      turns.accepted()
      turn()
      expect(isDone).toBe(false)
    }
    turns.accepted()
    turn()
    expect(isDone).toBe(true)
  })
})
