// The token endpoint of an identity provider, with the keys by which its tokens are judged.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

export interface TokenServer extends AsyncDisposable {
  readonly endpoint: string
  readonly jwksUrl: string
  readonly clientId: string
  readonly clientSecret: string
  /** How many tokens were given. */
  given(): number
  /** Of the tokens that are given from now on. */
  change(next: Partial<TokenManner>): void
}

interface TokenManner {
  readonly lifeSeconds: number
  readonly audience: string
  readonly subject: string
}

export async function startTokenServer(first: TokenManner): Promise<TokenServer> {
  const { publicKey, privateKey } = await generateKeyPair('RS256')
  const keys = [{ ...(await exportJWK(publicKey)), kid: 'one', use: 'sig', alg: 'RS256' }]
  const [clientId, clientSecret] = ['the client', 'secret-of:the/client']
  let manner = first
  let given = 0
  const token = async () => {
    const { subject, audience, lifeSeconds } = manner
    given += 1
    return new SignJWT({ scope: 'kafka' })
      .setProtectedHeader({ alg: 'RS256', kid: 'one' })
      .setIssuer('https://issuer.test')
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(`${lifeSeconds} s`)
      .sign(privateKey)
  }
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('content-type', 'application/json')
    if (request.url === '/jwks') return void response.end(JSON.stringify({ keys }))
    const [id, secret] = basicOf(request)
    request.resume()
    await once(request, 'end')
    if (id !== clientId || secret !== clientSecret) {
      response.statusCode = 401
      return void response.end(JSON.stringify({ error: 'invalid_client' }))
    }
    const granted = { access_token: await token(), token_type: 'Bearer', expires_in: manner.lifeSeconds }
    response.end(JSON.stringify(granted))
  }
  const server = createServer((request, response) => void answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    endpoint: `${origin}/token`,
    jwksUrl: `${origin}/jwks`,
    clientId,
    clientSecret,
    given: () => given,
    change: (next) => {
      manner = { ...manner, ...next }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** RFC 6749 §2.3.1: both parts are form-encoded. */
function basicOf({ headers }: IncomingMessage): readonly string[] {
  const text = Buffer.from((headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString()
  return text.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
}
