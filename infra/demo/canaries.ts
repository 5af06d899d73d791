// One canary for each play vendor: an account of its own, whose calendar the scheduler changes once
// a minute and sees come back. What is there from an earlier start is left as it is.
import type { DemoStack, Setting } from './setting.ts'
import { DEMO_PROVIDERS } from './accounts.ts'

const VENDORS = ['google', 'microsoft'] as const

/** Connects them and lets them be changed. Throws a UserError of the command that failed. */
export async function keepCanaries(
  stack: DemoStack,
  { simulator, check }: Pick<Setting, 'simulator' | 'check'>,
  signal: AbortSignal,
): Promise<void> {
  const stored = await check.stored.connections()
  const known = new Map((await simulator.accounts()).map((account) => [account.email, account]))
  const made: string[] = []
  for (const vendor of VENDORS) {
    const email = `canary-${vendor}@example.com`
    if (stored.some((one) => one.email === email && one.status === 'active')) continue
    // Its grant is told at its making alone, so an account without a connection is given up.
    if (known.has(email)) continue
    const { refreshToken } = await simulator.createAccount({
      vendor,
      email,
      calendars: 1,
      eventsPerCalendar: 1,
    })
    const args = ['--json', 'connections', 'add', '--provider', DEMO_PROVIDERS[0], '--vendor', vendor]
    const added = await stack.calstream({ args, input: refreshToken }, signal)
    const { connection } = JSON.parse(added) as { connection: string }
    await stack.calstream({ args: ['canary', 'add', connection] }, signal)
    made.push(vendor)
  }
  if (made.length > 0)
    stack.say(`A canary of ${made.join(' and ')} changes once a minute: npx calstream canary list.`)
}
