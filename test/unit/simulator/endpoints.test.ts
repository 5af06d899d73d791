// How Graph judges who answers its notifications:
// the shares of slow answers, the ten minutes, the host.
import { describe, expect, it } from 'vitest'
import { createEndpoints } from '../../../infra/simulator/microsoft/endpoints.ts'

const URL_OF_HOOK = 'https://hooks.example.com/graph'

function judged(slow: number, all: number) {
  let now = 0
  const endpoints = createEndpoints(
    () => now,
    () => 10_000,
  )
  for (let no = 0; no < all; no += 1) endpoints.answered(URL_OF_HOOK, no < slow ? 10_001 : 10_000)
  return { endpoints, pass: (ms: number) => (now += ms) }
}

describe('an endpoint', () => {
  it.each([
    [0, 9, 'normal'],
    [9, 9, 'normal'],
    [1, 10, 'normal'],
    [10, 100, 'normal'],
    [11, 100, 'slow'],
    [15, 100, 'slow'],
    [16, 100, 'drop'],
    [10, 10, 'drop'],
  ])('with %i slow answers of %i is %s', (slow, all, state) => {
    expect(judged(slow, all).endpoints.state(URL_OF_HOOK)).toBe(state)
  })

  it('is a host, whatever the path', () => {
    const { endpoints } = judged(10, 10)
    expect(endpoints.state('https://hooks.example.com/other?x=1')).toBe('drop')
    expect(endpoints.state('https://elsewhere.example.com/graph')).toBe('normal')
    expect(endpoints.troubled).toEqual([{ host: 'hooks.example.com', state: 'drop' }])
  })

  it('is forgiven after ten minutes', () => {
    const { endpoints, pass } = judged(10, 10)
    pass(599_999)
    expect(endpoints.state(URL_OF_HOOK)).toBe('drop')
    pass(1)
    expect([endpoints.state(URL_OF_HOOK), endpoints.troubled]).toEqual(['normal', []])
  })
})
