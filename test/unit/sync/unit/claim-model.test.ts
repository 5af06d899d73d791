// Whatever happens to a connection and its calendars, no work exists that nothing will ring: once
// the vendor is well and the gates are open, everything is read, by rings that exist already.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ClaimModel, type Stop, type Truth } from '../../../support/claim-model.ts'

const CALENDARS = 3

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      at: fc.nat(9),
      copies: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      at: fc.nat(9),
      reason: fc.constantFrom('api' as const, 'reconcile' as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('vendor' as const),
      at: fc.nat(9),
      is: fc.constantFrom<Truth['vendor'][]>('well', 'ill', 'refused'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('account' as const),
      is: fc.constantFrom<ClaimModel['account'][]>('well', 'well', 'well', 'throttled', 'failing'),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      seconds: fc.oneof(fc.nat(10), fc.nat(400), fc.nat(7200)),
      earlyS: fc.constantFrom(0, 0, 3, 29, 29),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('work' as const),
      stop: fc.option(
        fc.record({
          kind: fc.constantFrom<Stop['kind'][]>('hand-over', 'hold', 'crash'),
          after: fc.nat(CALENDARS),
        }),
        { freq: 3 },
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('gate' as const), isOpen: fc.constantFrom(true, true, false) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('disconnect' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('add' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), at: fc.nat(9) }) },
)
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never

function carryOut(model: ClaimModel, one: Command, sweeps: boolean): string | null {
  const ids = [...model.rows.keys()]
  const idAt = (at: number) => ids[at % Math.max(1, ids.length)]
  switch (one.do) {
    case 'change':
      if (idAt(one.at) !== undefined) model.change(idAt(one.at)!, one.copies)
      return null
    case 'ask':
      if (one.reason === 'api') model.ask(idAt(one.at))
      else model.ring(one.reason, null)
      return null
    case 'vendor': {
      const truth = model.truth.get(idAt(one.at)!)
      if (truth) truth.vendor = one.is
      return null
    }
    case 'account':
      model.account = one.is
      return null
    case 'pass':
      model.pass(one.seconds, { earlyS: one.earlyS, sweeps })
      return null
    case 'work':
      return model.work(one.stop)
    case 'gate':
      model.isGateOpen = one.isOpen
      return null
    case 'disconnect':
      model.disconnect()
      return null
    case 'connect':
      model.connect()
      return null
    case 'add':
      if (ids.length < CALENDARS + 2) model.addCalendar()
      return null
    case 'remove':
      if (ids.length > 1) model.removeCalendar(idAt(one.at)!)
      return null
    default:
      return one satisfies never
  }
}

/**
 * The vendor is well, the gates are open, and nobody does anything:
 * more than the longest backoff passes, in small steps.
 */
function letRest(model: ClaimModel, sweeps: boolean): void {
  model.account = 'well'
  model.isGateOpen = true
  for (const truth of model.truth.values()) truth.vendor = 'well'
  for (let minute = 0; minute < 130; minute += 1) {
    for (let half = 0; half < 2; half += 1) {
      model.pass(30, { sweeps })
      for (let unit = 0; unit < 4; unit += 1) expect(model.work(null)).toBeNull()
    }
  }
}

describe('no state with work exists that nothing will ring', () => {
  const property = (sweeps: boolean) =>
    fc.property(
      fc.array(command, { maxLength: 80, size: 'max' }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (commands, randoms) => {
        const model = new ClaimModel(CALENDARS, () => randoms.next().value as number)
        for (const one of commands) expect(carryOut(model, one, sweeps), one.do).toBeNull()
        letRest(model, sweeps)
        expect(model.unfinished()).toEqual([])
      },
    )
  const seed = Date.now() & 0x7fffffff

  test(`with every ring that there is (seed ${seed})`, () => {
    fc.assert(property(true), { seed, numRuns: 120 })
  })

  test(`without the sweep, which is only the net under the others (seed ${seed})`, () => {
    fc.assert(property(false), { seed, numRuns: 150 })
  })
})
