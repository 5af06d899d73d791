// Doctor tells network, certificate, login and right apart, whatever part it was.
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { createServer as createTlsServer } from 'node:https'
import { expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { fetchWithin, wordsOf } from '../../../services/cli/look.ts'
import { Refusal, troubleKindOf } from '../../../services/cli/trouble-kind.ts'
import { newAuthority } from '../../../infra/stack/certificates.ts'

test.each<[string, unknown, ReturnType<typeof troubleKindOf>]>([
  ['a broker that is away', new Failure('kafka/unavailable'), 'network'],
  ['a registry whose certificate is refused', new Failure('registry/certificate-refused'), 'certificate'],
  ['a database that refuses the login', new Failure('store/login-refused'), 'login'],
  ['a broker that gives no right', new Failure('kafka/right-missing'), 'right'],
  ['a token that is refused', new Refusal(401, 'no'), 'login'],
  ['a token without rights', new Refusal(403, 'no'), 'right'],
  ['a defect', new Failure('internal/defect'), null],
  ['a wrong answer', new Error('expected 401 without a token, got 500'), null],
  ['no error', undefined, null],
])('%s', (_what, error, kind) => {
  expect(troubleKindOf(error)).toBe(kind)
})

async function askedOf(url: string): Promise<unknown> {
  return fetchWithin(url).then(
    () => expect.fail('answered'),
    (error: unknown) => error,
  )
}

test('a server that is away, and one whose certificate is of an unknown authority', async () => {
  const gone = createServer().listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const { port: closed } = gone.address() as AddressInfo
  await new Promise((resolve) => gone.close(resolve))
  const away = await askedOf(`http://127.0.0.1:${closed}/`)
  expect([troubleKindOf(away), wordsOf(away)]).toEqual(['network', 'nothing listens there'])

  const { certificate: cert, key } = await (
    await newAuthority()
  ).issue({
    commonName: 'flags',
    names: ['127.0.0.1'],
  })
  const secured = createTlsServer({ cert, key }).listen(0, '127.0.0.1')
  await once(secured, 'listening')
  try {
    const refused = await askedOf(`https://127.0.0.1:${(secured.address() as AddressInfo).port}/`)
    expect(troubleKindOf(refused)).toBe('certificate')
    expect(wordsOf(refused)).toBe('its certificate is of an authority that is not known here')
  } finally {
    secured.closeAllConnections()
    secured.close()
  }
})
