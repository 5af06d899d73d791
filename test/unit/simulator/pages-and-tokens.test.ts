// Pages may be short or empty but always end; tokens carry their meaning and cannot be altered.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planPage, type PageQuestion } from '../../../infra/simulator/google/page-plan.ts'
import { createTokenMint } from '../../../infra/simulator/google/tokens.ts'

const MILD = { shortPages: 'sometimes', emptyPages: 'sometimes', pageSizeMax: 2500 } as const
const NONE = { shortPages: false, emptyPages: false, pageSizeMax: 2500 } as const
const ALL = { shortPages: true, emptyPages: true, pageSizeMax: 2500 } as const

function pageThrough(paging: Parameters<typeof planPage>[1], total: number, maxResults: number): number[] {
  const sizes: number[] = []
  let remaining = total
  for (let page = 0; page < 10_000; page += 1) {
    const question: PageQuestion = { runKey: 'run', page, remaining, maxResults }
    const size = planPage('seed', paging, question)
    sizes.push(size.items)
    remaining -= size.items
    if (remaining === 0 && !size.trailing) return sizes
  }
  throw new Error('the paging never ends')
}

describe('the page plan', () => {
  it('hands out every item exactly once and ends, whatever the knobs', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(MILD, NONE, ALL),
        fc.nat(500),
        fc.integer({ min: 1, max: 100 }),
        (knobs, total, max) => {
          const sizes = pageThrough(knobs, total, max)
          expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(total)
          expect(Math.max(...sizes)).toBeLessThanOrEqual(max)
        },
      ),
    )
  })

  it('fills every page when short and empty pages are off', () => {
    expect(pageThrough(NONE, 25, 10)).toEqual([10, 10, 5])
  })

  it('makes short and empty pages when they are on', () => {
    const sizes = pageThrough(ALL, 25, 10)
    expect(sizes).toContain(0)
    expect(sizes.some((size) => size > 0 && size < 5)).toBe(true)
  })

  it('leaves an answer that fits into one page alone unless it is forced', () => {
    expect(pageThrough(MILD, 10, 10)).toEqual([10])
    expect(pageThrough(ALL, 10, 10).length).toBeGreaterThan(1)
  })

  it('cuts the same page the same way each time it is asked for', () => {
    const question = { runKey: 'r', page: 3, remaining: 900, maxResults: 250 }
    expect(planPage('s', MILD, question)).toEqual(planPage('s', MILD, question))
  })

  it('never exceeds the size knob', () => {
    expect(pageThrough({ ...NONE, pageSizeMax: 4 }, 10, 250)).toEqual([4, 4, 2])
  })
})

describe('tokens', () => {
  const tokens = createTokenMint('seed')
  const claims = {
    accountId: 'c1',
    calendarId: 'x',
    seq: 7,
    cursorEpoch: 1,
    issuedAt: 0,
    params: 'single=true',
    window: [1, null] as const,
  }

  it('come back as they were minted', () => {
    expect(tokens.readSync(tokens.mint('sync', claims))).toEqual(claims)
  })

  it('are refused when altered, minted for another purpose or by another seed', () => {
    const token = tokens.mint('sync', claims)
    const altered = `${token.slice(0, 4)}${token[4] === 'A' ? 'B' : 'A'}${token.slice(5)}`
    expect(tokens.readSync(altered)).toBeNull()
    expect(tokens.readPage(token)).toBeNull()
    expect(createTokenMint('other').readSync(token)).toBeNull()
    expect(tokens.readSync('')).toBeNull()
  })
})
