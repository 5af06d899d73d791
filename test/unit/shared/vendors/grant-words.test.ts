// The table of the words that park, from the token endpoint's answer to the failure: which park,
// which never do, and what a person reads.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { failureOfGrant } from '#shared/vendors/oauth.ts'

const APPROVAL = 'https://login.example/organizations/adminconsent?client_id=cid'
const SETTINGS = {
  google: { name: 'google', vendor: 'Google', approvalUrl: null },
  microsoft: { name: 'microsoft', vendor: 'Microsoft', approvalUrl: APPROVAL },
} as const

const refused = (name: VendorName, status: number, data: unknown) =>
  failureOfGrant({ status, data, headers: new Headers() }, SETTINGS[name], 'refresh', 0)

const aadsts = (error: string, number: number, more: object = {}) => ({
  error,
  error_description: `AADSTS${number}: Words for people.\r\nTrace ID: t`,
  error_codes: [number],
  ...more,
})

describe('Google', () => {
  test.each<readonly [object, FailureCode, boolean]>([
    [{ error_description: 'Token has been expired or revoked.' }, 'vendor/grant-revoked', false],
    [{ error_description: 'Account has been deleted' }, 'vendor/grant-revoked', false],
    [{ error_description: 'Bad Request' }, 'vendor/grant-revoked', true],
    [{}, 'vendor/grant-revoked', true],
    [
      { error_subtype: 'invalid_rapt', error_description: 'reauth related error' },
      'vendor/grant-revoked',
      true,
    ],
    [{ error_subtype: 'something_new', error_description: 'Bad Request' }, 'vendor/token-refused', true],
    [{ error_description: 'Invalid JWT: check your iat and exp values.' }, 'vendor/token-refused', true],
    [{ error_description: 'The refresh token is invalid.' }, 'vendor/grant-revoked', true],
    [{ error_description: 'The user is suspended.' }, 'vendor/token-refused', true],
    [{ error_description: 'Please try again later.' }, 'vendor/token-refused', true],
  ])('says invalid_grant with %j: %s', (more, code, mayHeal) => {
    expect(refused('google', 400, { error: 'invalid_grant', ...more })).toMatchObject({ code, mayHeal })
  })

  test.each<readonly [number, string, FailureCode]>([
    [401, 'invalid_client', 'vendor/client-rejected'],
    [401, 'deleted_client', 'vendor/client-rejected'],
    [401, 'disabled_client', 'vendor/client-rejected'],
    [401, 'unauthorized_client', 'vendor/client-rejected'],
    [400, 'redirect_uri_mismatch', 'vendor/client-rejected'],
    [400, 'admin_policy_enforced', 'vendor/admin-required'],
    [400, 'access_denied', 'vendor/token-refused'],
  ])('says %i %s: %s', (status, error, code) => {
    expect(refused('google', status, { error }).code).toBe(code)
  })
})

describe('Microsoft', () => {
  test.each<readonly [string, number, FailureCode, boolean]>([
    ['invalid_grant', 50173, 'vendor/grant-revoked', false],
    ['invalid_grant', 70008, 'vendor/grant-revoked', false],
    ['invalid_grant', 700082, 'vendor/grant-revoked', false],
    ['invalid_grant', 70000, 'vendor/grant-revoked', false],
    ['invalid_grant', 65001, 'vendor/grant-revoked', true],
    ['invalid_grant', 50133, 'vendor/grant-revoked', true],
    ['interaction_required', 50076, 'vendor/grant-revoked', true],
    ['interaction_required', 999_999, 'vendor/grant-revoked', true],
    ['interaction_required', 53003, 'vendor/admin-required', true],
    ['invalid_grant', 53003, 'vendor/admin-required', true],
    ['invalid_grant', 50105, 'vendor/admin-required', true],
    ['invalid_grant', 50057, 'vendor/admin-required', true],
    ['unauthorized_client', 700016, 'vendor/admin-required', true],
    ['unauthorized_client', 7000112, 'vendor/admin-required', true],
    ['invalid_client', 7000222, 'vendor/client-rejected', true],
    ['invalid_client', 999_999, 'vendor/client-rejected', true],
    ['invalid_request', 9001023, 'vendor/client-rejected', true],
    ['invalid_request', 90002, 'vendor/client-rejected', true],
    ['invalid_grant', 50196, 'vendor/throttled', true],
    ['invalid_grant', 90033, 'vendor/unavailable', true],
    ['invalid_grant', 80013, 'vendor/unavailable', true],
    ['invalid_grant', 999_999, 'vendor/token-refused', true],
    ['unauthorized_client', 999_999, 'vendor/token-refused', true],
    ['access_denied', 999_999, 'vendor/token-refused', true],
  ])('says %s with %i: %s', (error, number, code, mayHeal) => {
    expect(refused('microsoft', 400, aadsts(error, number))).toMatchObject({ code, number, mayHeal })
  })

  test('tells an administrator where to approve the app again, and keeps the number', () => {
    const failure = refused('microsoft', 400, aadsts('unauthorized_client', 700016))
    expect(failure.number).toBe(700016)
    expect(failure.message).toBe(
      `Microsoft: The app is not, or no longer, approved in this organization (AADSTS700016). An administrator of the organization has to approve the app again: ${APPROVAL}`,
    )
  })

  test('of several numbers, what passes by itself counts', () => {
    const data = { error: 'invalid_grant', error_codes: [50173, 90033] }
    expect(refused('microsoft', 400, data).code).toBe('vendor/unavailable')
  })

  test('the number is read from the text when the list is missing, and from nowhere else', () => {
    const data = { error: 'invalid_grant', error_description: 'AADSTS50173: x' }
    expect(refused('microsoft', 400, data)).toMatchObject({ code: 'vendor/grant-revoked', number: 50173 })
    const quoted = { error: 'invalid_grant', error_description: 'AADSTS999999: it is no AADSTS50173: y' }
    expect(refused('microsoft', 400, quoted)).toMatchObject({ code: 'vendor/token-refused', number: 999_999 })
  })
})

test('no answer outside of the documented statuses and words parks anybody', () => {
  const words = fc.constantFrom(
    'invalid_grant',
    'interaction_required',
    'admin_policy_enforced',
    'unauthorized_client',
    'x',
  )
  const body = fc.record(
    {
      error: fc.oneof(words, fc.string(), fc.anything()),
      error_description: fc.oneof(fc.constant('Token has been expired or revoked.'), fc.anything()),
      error_subtype: fc.anything(),
      error_codes: fc.oneof(fc.array(fc.constantFrom(50173, 700016, 1)), fc.anything()),
    },
    { requiredKeys: [] },
  )
  const status = fc.oneof(
    fc.constantFrom(404, 405, 407, 408, 409, 410, 429, 451),
    fc.integer({ min: 500, max: 599 }),
  )
  fc.assert(
    fc.property(
      fc.constantFrom<VendorName>('google', 'microsoft'),
      status,
      fc.oneof(body, fc.anything()),
      (name, code, data) => {
        expect(settlementOf(refused(name, code, data)).action).not.toBe('park')
      },
    ),
    { numRuns: 500 },
  )
})
