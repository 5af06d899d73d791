// What a vendor says of an account is made fit once, where it comes in: the id is taken as it is or
// not at all, the name is one line.
import { describe, expect, test } from 'vitest'
import { ACCOUNT_ID_MAX, cleanLine, isAccountId, LABEL_MAX } from '#shared/vendors/storable.ts'
import { failureOf, google, json, signal } from '../../../support/answering-google.ts'
import { microsoft, routes } from '../../../support/answering-microsoft.ts'

const ESC = '\u001B'
const RLO = '\u202E'
const MB = 'a'.repeat(1024 * 1024)

const NO_IDS = [
  ['a NUL', 'ana\0@example.com'],
  ['an escape', `ana${ESC}[2J@example.com`],
  ['a C1 control', 'ana\u009B2J@example.com'],
  ['a line end', 'ana@example.com\r\nX: y'],
  ['an override of direction', `ana${RLO}moc.elpmaxe@evil`],
  ['nothing visible', '\u200B'],
  ['a space', 'ana @example.com'],
  ['a lone surrogate', 'ana\uD800'],
  ['a megabyte', MB],
] as const

test.each([
  'ana@example.com',
  'a+b.c@bücher.example',
  'a9f0e61a-137d-4a2d-9c5f-2a8a0f1c6a10',
  '田中@example.jp',
])('%s is the id of an account', (id) => expect(isAccountId(id)).toBe(true))

test.each(NO_IDS)('an id with %s is none, at Google or Microsoft', async (_what, id) => {
  expect(isAccountId(id)).toBe(false)
  const atGoogle = await google(json({ id, primary: true }))
  expect((await failureOf(atGoogle.vendor.account('t', signal))).code).toBe('vendor/unreadable-answer')
  const atMicrosoft = await microsoft(routes({ '/v1.0/me': json({ id, mail: 'ana@example.com' }) }))
  expect((await failureOf(atMicrosoft.vendor.account('t', signal))).code).toBe('vendor/unreadable-answer')
})

test('the longest id is as long as an address may be', () => {
  expect(isAccountId('a'.repeat(ACCOUNT_ID_MAX))).toBe(true)
  expect(isAccountId('a'.repeat(ACCOUNT_ID_MAX + 1))).toBe(false)
})

describe('a name', () => {
  test.each([
    ['Ana', 'Ana'],
    [' Ana \u00A0Lima\t', 'Ana \u00A0Lima'],
    ['Ana\r\nLima', 'Ana Lima'],
    [`${ESC}[31mAna${ESC}[0m`, '[31mAna [0m'],
    ['\u009B31mAna', '31mAna'],
    [`Ana${RLO}gpj.exe`, 'Ana gpj.exe'],
    ['Ana\u2066\u2069\u2028x', 'Ana x'],
    ['A\0na', 'A na'],
    ['\u05E2\u05D1\u05E8\u05D9\u05EA\u200F (x)', '\u05E2\u05D1\u05E8\u05D9\u05EA\u200F (x)'],
    ['\u{1F469}\u200D\u{1F4BB}', '\u{1F469}\u200D\u{1F4BB}'],
    ['a\uD800b', 'a\uFFFDb'],
    [`${ESC}\n${RLO}`, null],
    ['', null],
    [null, null],
    [undefined, null],
  ])('%j reads %j', (source, read) => expect(cleanLine(source, LABEL_MAX)).toBe(read))

  test.each([
    ['a megabyte', MB],
    ['pairs', '\u{1F469}'.repeat(1000)],
    ['controls before it', `${'\n'.repeat(10)}${MB}`],
  ])('of %s is cut, and stays whole characters', (_what, source) => {
    const name = cleanLine(source, LABEL_MAX) ?? ''
    expect(name.length).toBeLessThanOrEqual(LABEL_MAX)
    expect(name.length).toBeGreaterThan(LABEL_MAX - 2)
    expect(name.isWellFormed()).toBe(true)
  })

  test('of a Microsoft account is the first that can be read', async () => {
    const user = { id: 'u', mail: `${RLO}\n`, userPrincipalName: `ana${ESC}[2J`, displayName: MB }
    const { vendor } = await microsoft(routes({ '/v1.0/me': json(user) }))
    expect(await vendor.account('t', signal)).toEqual({ id: 'u', label: 'ana [2J' })
  })
})
