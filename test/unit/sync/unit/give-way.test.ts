// An ill calendar gives way to a sibling that waits, and only then.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  endOfCall,
  GIVE_WAY_MS,
  ownPermit,
  PATIENT_CALL_MS,
} from '../../../../services/sync/unit/give-way.ts'
import type { Permit } from '../../../../services/sync/lanes.ts'

const ILL = { failures: 1 }
const WELL = { failures: 0 }

function permitWith() {
  const abort = new AbortController()
  const rung = new AbortController()
  const permit: Permit = {
    slot: 'live',
    stopping: new AbortController().signal,
    signal: abort.signal,
    rung: rung.signal,
  }
  return { permit, abort, rung }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('the permit of an ill calendar', () => {
  test.each(['while it is read', 'before it is read'])(
    'is over a little after a ring that came %s',
    (when) => {
      const { permit, rung } = permitWith()
      if (when.startsWith('before')) rung.abort()
      using own = ownPermit(permit, ILL, [ILL, WELL])
      rung.abort()
      vi.advanceTimersByTime(GIVE_WAY_MS - 1)
      expect(own.signal.aborted).toBe(false)
      vi.advanceTimersByTime(1)
      expect(own.signal.reason).toMatchObject({ code: 'sync/gave-way' })
      // Only its own: the next calendar of the unit has all its time.
      expect(permit.signal.aborted).toBe(false)
    },
  )

  test('lasts while nobody rings, and is taken away with the unit', () => {
    const { permit, abort } = permitWith()
    using own = ownPermit(permit, ILL, [ILL, WELL])
    vi.advanceTimersByTime(100 * GIVE_WAY_MS)
    expect(own.signal.aborted).toBe(false)
    abort.abort()
    expect(own.signal.aborted).toBe(true)
  })

  test.each([
    ['every third try of it', { failures: 2 }, [{ failures: 2 }, WELL], false],
    ['the try after that', { failures: 3 }, [{ failures: 3 }, WELL], true],
    ['a calendar that is well', WELL, [ILL, WELL], false],
    ['one without a sibling that is well', ILL, [ILL, ILL], false],
  ])('of %s', (_which, calendar, calendars, givesWay) => {
    const { permit, rung } = permitWith()
    rung.abort()
    using own = ownPermit(permit, calendar, calendars)
    vi.advanceTimersByTime(100 * GIVE_WAY_MS)
    expect(own.signal.aborted).toBe(givesWay)
  })

  test.each(['while it is out', 'before it goes out'])(
    'in every third try: a call is given up soon after a ring that came %s, and so is the next',
    (when) => {
      const { permit, rung } = permitWith()
      const ill = { failures: 2 }
      using own = ownPermit(permit, ill, [ill, WELL])
      if (when.startsWith('before')) rung.abort()
      for (let call = 1; call <= 2; call += 1) {
        using end = endOfCall(own, own.signal)
        rung.abort()
        vi.advanceTimersByTime(PATIENT_CALL_MS - 1)
        expect(end.signal.aborted).toBe(false)
        vi.advanceTimersByTime(1)
        expect(end.signal.reason).toMatchObject({ code: 'vendor/timeout' })
      }
      expect(own.signal.aborted).toBe(false)
    },
  )

  test('a call has all its time while nobody rings, in any other try, and of a calendar that is well', () => {
    const { permit, rung } = permitWith()
    const third = { failures: 2 }
    using patient = ownPermit(permit, third, [third, WELL])
    using quiet = endOfCall(patient, patient.signal)
    vi.advanceTimersByTime(100 * PATIENT_CALL_MS)
    expect(quiet.signal.aborted).toBe(false)
    rung.abort()
    using well = ownPermit(permit, WELL, [third, WELL])
    using ordinary = endOfCall(well, well.signal)
    vi.advanceTimersByTime(100 * PATIENT_CALL_MS)
    expect(ordinary.signal.aborted).toBe(false)
  })

  test('leaves no timer and no listener behind', () => {
    const { permit, rung } = permitWith()
    const ended = ownPermit(permit, ILL, [ILL, WELL])
    ended[Symbol.dispose]()
    rung.abort()
    expect(vi.getTimerCount()).toBe(0)
    ownPermit(permit, ILL, [ILL, WELL])[Symbol.dispose]()
    endOfCall({ ...permit, isPatient: true }, permit.signal)[Symbol.dispose]()
    expect(vi.getTimerCount()).toBe(0)
  })
})
