// The first hour with the product, in a fresh copy and by README alone. It starts. A new account is
// connected and its events are on the topic. Every later start comes to "equal" at once, however
// the one before ended.
import { expect, inject, test } from 'vitest'
import { createBrowser, linkOn } from '../../infra/demo/browser.ts'
import { setToggle } from '#shared/gates/seed-toggles.ts'
import { type FreshClone, openFreshClone, type RunningStart } from '../support/fresh-clone.ts'
import { readmeBlocks } from '../support/readme.ts'
import { restartRounds } from '../support/restart-rounds.ts'

/** Three starts of the whole stack, on a machine that is busy with other things. */
const TIMEOUT_MS = 900_000
/** What README promises a newcomer, from the consent to the event on the topic. */
const ON_THE_TOPIC_WITHIN_MS = 60_000

test(
  'README connects an account of one’s own, and each start after Ctrl-C or kill -9 ends in "equal", also one that an operator’s switch keeps back',
  { timeout: TIMEOUT_MS },
  async () => {
    await using clone = openFreshClone(inject('stack').folder)
    const rounds = await restartRounds(clone, {
      endings: ['ctrl-c', 'kill -9', 'ctrl-c'],
      args: ['--connections', '4'],
      changesPerSecond: 20,
      loadMs: 3_000,
      async meanwhile(round, start) {
        if (round === 0) await connectAsReadmeSays(clone, start)
        // The next start finds what an operator left.
        if (round === 1) await switchSync(clone, false)
      },
      troubled: {
        round: 2,
        args: ['--within', '2'],
        async heal(start) {
          await start.says(/No sync now: Calendar sync not enabled/)
          await start.says(/differences? from the vendor after 2\.0 s:\n {2}Postgres: /)
          await start.says(/Everything keeps running/)
          await switchSync(clone, true)
        },
      },
    })
    expect(rounds.map(({ ending }) => ending)).toEqual(['ctrl-c', 'kill -9', 'ctrl-c'])
    for (const { changes } of rounds) expect(changes).toBeGreaterThanOrEqual(60)
  },
)

function switchSync(clone: FreshClone, on: boolean): Promise<void> {
  const { env } = clone.stackFile()
  const address = {
    consoleUrl: (env['UNLEASH_URL'] ?? '').replace(/\/api$/, ''),
    tokens: { admin: env['UNLEASH_ADMIN_TOKEN'] ?? '' },
  }
  return setToggle(address, 'CALENDAR_SYNC_ENABLED', on, AbortSignal.timeout(TIMEOUT_MS))
}

/** Runs README's own lines; the browser does what stands between them. */
async function connectAsReadmeSays(clone: FreshClone, start: RunningStart): Promise<void> {
  expect(start.output()).toContain('npx calstream tail')
  const [ask, look, ...others] = readmeBlocks('Connect accounts')
  expect(others).toEqual([])
  const { url } = JSON.parse((await clone.bash(ask ?? '')).trim().split('\n').at(-1) ?? '') as { url: string }
  const browser = createBrowser(AbortSignal.timeout(TIMEOUT_MS))
  const asked = await browser.open(url)
  const people = (await browser.press(asked, 'Continue to')) ?? asked
  const consent = linkOn(people, 'a new account')
  expect(consent, people.text).not.toBeNull()
  const consentedAt = Date.now()
  const landed = await browser.open(consent ?? '')
  expect([landed.status, landed.text]).toEqual([200, expect.stringContaining('is connected')])

  // A new shell: the values of the first block are needed again, its last line is not.
  const values = (ask ?? '').split('\n').filter((line) => /^[A-Z]+=/.test(line))
  const records = await clone.bash([...values, asJson(look ?? '')].join('\n'))
  const times = records
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { at: string }).at)
  expect(times).toHaveLength(20)
  expect(Date.parse(times[0] ?? '') - consentedAt).toBeLessThan(ON_THE_TOPIC_WITHIN_MS)
}

/** The same line, for a program. */
function asJson(lines: string): string {
  expect(lines).toContain('npx calstream tail')
  return lines.replace('npx calstream tail', 'npx calstream --json tail')
}
