// The parts of the console that decide who gets in, and that nothing of others becomes markup.
import { describe, expect, test } from 'vitest'
import { comesFromUs } from '../../../services/console/http/same-site.ts'
import { createSessions } from '../../../services/console/http/sessions.ts'
import { personIn } from '../../../services/console/http/sign-in.ts'
import { createTries } from '../../../services/console/http/tries.ts'
import { html } from '../../../services/console/html.ts'
import { count, span, when } from '../../../services/console/words.ts'

describe('a change', () => {
  const host = 'console.example.com'
  test.each([
    [{ 'sec-fetch-site': 'same-origin', host }, true],
    [{ 'sec-fetch-site': 'same-origin', origin: 'https://evil.example.com', host }, true],
    [{ 'sec-fetch-site': 'same-site', origin: `https://${host}`, host }, false],
    [{ 'sec-fetch-site': 'cross-site', host }, false],
    [{ 'sec-fetch-site': 'none', host }, false],
    [{ 'sec-fetch-site': ['same-origin', 'cross-site'], host }, false],
    [{ origin: `https://${host}`, host }, true],
    [{ origin: `https://${host}:8443`, host }, false],
    [{ origin: 'null', host }, false],
    [{ host }, false],
  ])('with %j comes from a page of ours: %s', (headers, isOurs) => {
    expect(comesFromUs(headers, null)).toBe(isOurs)
  })

  test('is held against the address of the settings, where there is one, and not against a Host', () => {
    const own = 'https://console.example.com'
    expect(comesFromUs({ origin: own, host: 'inside:8090' }, own)).toBe(true)
    expect(comesFromUs({ origin: 'http://console.example.com', host: 'inside:8090' }, own)).toBe(false)
    expect(comesFromUs({ origin: 'https://evil.example.com', host: 'evil.example.com' }, own)).toBe(false)
  })
})

describe('a token', () => {
  test.each([
    [null, null],
    [{}, null],
    [{ scope: 'operator' }, { role: 'operator', name: 'operator' }],
    [
      { scope: 'openid operator', sub: ' ada ' },
      { role: 'operator', name: 'ada' },
    ],
    [
      { scope: 'operator.read', sub: 'bob' },
      { role: 'viewer', name: 'bob' },
    ],
    [{ scope: 'operator.read operator' }, { role: 'operator', name: 'operator' }],
    [{ scope: ['operator'] }, null],
    [{ scope: 'operators' }, null],
    [{ scope: 'operator', provider_id: 'x' }, null],
  ])('that says %j is one of %j', (claims, person) => {
    expect(personIn(claims)).toEqual(person)
  })
})

describe('a session', () => {
  const ada = { role: 'operator', name: 'ada' } as const

  test('ends at its time, and at once when it is closed', () => {
    let now = 1_000
    const sessions = createSessions(() => now)
    const [first, second] = [sessions.open(ada, 2_000), sessions.open(ada, 3_000)]
    expect(sessions.find(first)).toEqual(ada)
    now = 2_000
    expect(sessions.find(first)).toBeNull()
    expect(sessions.find(second)).toEqual(ada)
    sessions.close(second)
    expect(sessions.find(second)).toBeNull()
  })

  test('is found by its whole secret alone', () => {
    const sessions = createSessions(() => 0)
    const secret = sessions.open(ada, 1)
    for (const other of ['', secret.slice(1), `${secret}a`, 'x'.repeat(43)])
      expect(sessions.find(other)).toBeNull()
  })

  test('is one of so many: the oldest gives way', () => {
    const sessions = createSessions(() => 0)
    const secrets = Array.from({ length: 501 }, () => sessions.open(ada, 1))
    expect(sessions.find(secrets[0]!)).toBeNull()
    expect(sessions.find(secrets[1]!)).toEqual(ada)
  })
})

describe('tries', () => {
  test('of one client end after ten, and begin again after a minute', () => {
    let now = 0
    const tries = createTries(() => now)
    for (let n = 0; n < 10; n += 1) {
      expect(tries.waitSeconds('a')).toBe(0)
      tries.failed('a')
    }
    expect(tries.waitSeconds('a')).toBe(60)
    expect(tries.waitSeconds('b')).toBe(0)
    now = 60_000
    expect(tries.waitSeconds('a')).toBe(0)
  })

  test('of all clients together end after a hundred', () => {
    const tries = createTries(() => 0)
    for (let n = 0; n < 100; n += 1) tries.failed(`client ${n}`)
    expect(tries.waitSeconds('another')).toBe(60)
  })
})

describe('a template', () => {
  test('makes text of what it is given, in content and in attributes', () => {
    const evil = `"><script>alert('1')</script>&`
    const text = html`<a title="${evil}">${evil}</a>`.text
    expect(text).not.toContain('<script>')
    expect(text).toBe(
      `<a title="&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;">&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;</a>`,
    )
  })

  test('takes other templates as they are, and leaves out what is nothing', () => {
    expect(html`<p>${html`<b>${1}</b>`}${null}${undefined}${false}${['a', html`<i></i>`]}</p>`.text).toBe(
      '<p><b>1</b>a<i></i></p>',
    )
  })
})

test('times and counts are told as people say them', () => {
  const asOf = '2026-11-30T12:00:00.000Z'
  expect(when('2026-11-30T11:57:00.000Z', asOf).text).toBe(
    '<time datetime="2026-11-30T11:57:00.000Z" title="2026-11-30T11:57:00.000Z">3 min ago</time>',
  )
  expect(when('2026-11-30T14:30:00.000Z', asOf).text).toContain('>in 3 h<')
  expect(when(null, asOf).text).toContain('never')
  expect([span(1), span(119), span(120), span(7200), span(172_800)]).toEqual([
    '1 s',
    '119 s',
    '2 min',
    '2 h',
    '2 days',
  ])
  expect([count(1, 'event'), count(12_345, 'event')]).toEqual(['1 event', '12\u2009345 events'])
})
