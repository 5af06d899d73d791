// `calstream token`: what it prints is taken by the API that has the same settings, and nothing
// that the API would refuse is printed.
import { expect, test } from 'vitest'
import { Secret } from '#shared/process/secret.ts'
import { printToken } from '../../../services/cli/token.ts'
import { createBearerCheck } from '#shared/process/bearer.ts'
import { BEARER_LIFE_MAX_S } from '#shared/process/bearer-settings.ts'

const secret = 'a-secret-of-thirty-two-bytes-or-more'
const provider = 'A9F0E61A-137D-4A2D-9C5F-2A8A0F1C6A10'

async function printed(expires: string, env: NodeJS.ProcessEnv = {}, operator = false): Promise<string> {
  const lines: string[] = []
  const nothing = () => undefined
  const output = {
    rows: nothing,
    object: nothing,
    line: nothing,
    text: (text: string) => void lines.push(text),
  }
  await printToken({ provider, expires, operator }, { API_JWT_SECRET: secret, ...env }, output)
  return lines.join('\n')
}

test.each([
  ['', ''],
  ['any', 'any'],
  ['https://issuer.example.com', 'calstream'],
])('a token names the issuer "%s" and the audience "%s" that the API wants', async (issuer, audience) => {
  const token = await printed('24h', { API_JWT_ISSUER: issuer, API_JWT_AUDIENCE: audience })
  const named = (claim: string) => (claim === '' ? undefined : claim)
  const check = createBearerCheck({
    API_JWT_SECRET: new Secret(secret),
    API_JWT_ISSUER: named(issuer),
    API_JWT_AUDIENCE: named(audience),
  })
  expect(await check(`Bearer ${token}`)).toMatchObject({ provider_id: provider.toLowerCase() })
})

test.each(['25h', '365 days', '0s', '-1h', '1h ago', 'soon', '', '1e400 years'])(
  'a life of "%s" is refused in plain words',
  async (expires) => {
    const refused = printed(expires)
    await expect(refused).rejects.toThrow(`from 1s to ${BEARER_LIFE_MAX_S / 3600}h`)
    await expect(refused).rejects.toMatchObject({ name: 'UserError' })
  },
)

test('a token that is asked for a provider and an operator is neither', async () => {
  await expect(printed('1h', {}, true)).rejects.toThrow('one of --provider, --operator and --viewer')
})

test('a secret that the API would refuse signs nothing', async () => {
  await expect(printed('1h', { API_JWT_SECRET: 'x'.repeat(31) })).rejects.toThrow('API_JWT_SECRET')
  await expect(printed('1h', { API_JWT_SECRET: 'x'.repeat(32) })).resolves.toMatch(/^ey/)
})
