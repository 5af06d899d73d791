// What one more try costs of a calendar that is refused: the first asks whatever may be wrong
// instead, the later ones the calendar.
import { expect, test } from 'vitest'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { systemClock } from '#shared/process/clock.ts'
import type { CalendarRun } from '../../../../services/sync/unit/read-run.ts'
import { AccountTrouble, pageOfRun } from '../../../../services/sync/unit/page-of-run.ts'
import type { Permit } from '../../../../services/sync/lanes.ts'
import type { Unit, UnitDeps } from '../../../../services/sync/unit/unit.ts'
import { freeMailboxes } from '../../../support/free-mailboxes.ts'

interface Story {
  readonly lastCode: FailureCode | null
  readonly isAllIll?: boolean
  readonly refusedWith?: FailureCode
  /** Whether the account is let in. */
  readonly isLetIn?: boolean
}

/** One try of a calendar that the vendor refuses. @returns what it met and what was asked. */
async function tried({
  lastCode,
  isAllIll = false,
  refusedWith = 'vendor/token-rejected',
  isLetIn = true,
}: Story) {
  const asked: string[] = []
  const google = {
    name: 'google',
    async fetchPage() {
      asked.push('page')
      throw new Failure(refusedWith)
    },
    async account() {
      asked.push('account')
      if (!isLetIn) throw new Failure('vendor/token-rejected')
      return { id: 'a', label: null }
    },
  } as const
  // Notes when another token is wanted than the one that is there.
  const tokens = { of: async () => 'token', invalidate: () => void asked.push('token') }
  const on = () => ({ state: 'on' })
  const deps = {
    clock: systemClock,
    gates: { sync: on, jobs: on },
    mailboxes: freeMailboxes([google], tokens),
  } as unknown as UnitDeps
  const connection = { vendor: 'google', isAllIll }
  const unit = { connection, progress: { pages: 0 }, startedAt: performance.now() } as unknown as Unit
  const run = { calendar: { vendorCalendarId: 'a', lastCode } } as unknown as CalendarRun
  const still = new AbortController().signal
  const permit = { signal: still, stopping: still } as unknown as Permit
  const met = await pageOfRun(deps, unit, run, permit).catch((error: unknown) => error)
  const failure = met instanceof AccountTrouble ? met.failure : met
  return { code: failure instanceof Failure ? failure.code : null, of: met instanceof AccountTrouble, asked }
}

test('a calendar that answers 401 costs a token and a question about the account once', async () => {
  const asked = ['page', 'token', 'page', 'account']
  expect(await tried({ lastCode: null })).toEqual({ code: 'vendor/call-refused', of: false, asked })
})

test.each<FailureCode>(['vendor/token-rejected', 'vendor/call-refused'])(
  'and one call at each later try, refused with %s',
  async (refusedWith) => {
    const story = { lastCode: 'vendor/call-refused', refusedWith, isLetIn: false } as const
    expect(await tried(story)).toEqual({ code: 'vendor/call-refused', of: false, asked: ['page'] })
  },
)

test('where no sibling is well the account is asked about each time', async () => {
  const told = await tried({ lastCode: 'vendor/call-refused', isAllIll: true, isLetIn: false })
  expect(told).toMatchObject({ code: 'vendor/account-refused', of: true })
  expect(told.asked).toContain('account')
})
