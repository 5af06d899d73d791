// docs/getting-started.md names what the code asks the vendors for: scopes and addresses, all of
// them and no others.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { callbackPath, startPath, webhookPath } from '#shared/vendors/our-addresses.ts'
import { googleEnv, microsoftEnv } from '#shared/vendors/settings.ts'
import { z } from 'zod'

const PAGE = readFileSync(path.resolve(import.meta.dirname, '../../docs/getting-started.md'), 'utf8')
const client = { CLIENT_ID: 'id', CLIENT_SECRET: new Secret('secret') }
const vendors = createVendors({
  ...z.object({ ...googleEnv, ...microsoftEnv }).parse({}),
  GOOGLE_CLIENT_ID: client.CLIENT_ID,
  GOOGLE_CLIENT_SECRET: client.CLIENT_SECRET,
  MICROSOFT_CLIENT_ID: client.CLIENT_ID,
  MICROSOFT_CLIENT_SECRET: client.CLIENT_SECRET,
})

function scopesOf(vendor: 'google' | 'microsoft'): readonly string[] {
  const request = { redirectUri: 'https://a.example/back', state: 's', codeChallenge: 'c', loginHint: null }
  const url = new URL(vendors.get(vendor)?.consentUrl(request) ?? '')
  return (url.searchParams.get('scope') ?? '').split(' ')
}

/** The part of the page between two of its headings. */
function section(heading: string): string {
  return PAGE.split(/^## /m).find((part) => part.startsWith(heading)) ?? ''
}

test('the scopes of Google are those of the page', () => {
  const [, block = ''] = /Scopes\.[^]*?```text\n([^]*?)```/.exec(section('2. Google')) ?? []
  expect(block.trim().split(/\s+/).toSorted()).toEqual(scopesOf('google').toSorted())
})

test('the permissions of Microsoft are those of the page', () => {
  const rows = section('3. Microsoft').match(/^ *\| `[\w.]+` \| .+\|$/gm) ?? []
  const named = rows.map((row) => /`([\w.]+)`/.exec(row)?.[1] ?? '')
  const permissions = named.filter((name) => /^[A-Z]\w+\.Read$|^offline/.test(name))
  expect(permissions.toSorted()).toEqual(scopesOf('microsoft').toSorted())
})

describe.each(['google', 'microsoft'] as const)('%s', (vendor) => {
  test.each([
    ['the redirect address', `https://calendars.example.com${callbackPath(vendor)}\n`],
    ['where it rings', `\`${webhookPath(vendor)}\``],
    ['where people begin', `\`${startPath(vendor)}\``],
  ])('is told %s as the code has it', (_what, text) => {
    expect(PAGE).toContain(text)
  })
})
