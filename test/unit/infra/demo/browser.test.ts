// The browser of the demo, against a server that plays the pages of a consent.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { createBrowser, linkOn, wordsOn } from '../../../../infra/demo/browser.ts'

const FORM = `<!doctype html><title>T</title><style>p{}</style><body><form method="post" action="/other"><button>Cancel</button></form>
<form method="post" action="/go?a=1&amp;b=2"><input type="hidden" name="t&quot;" value="&lt;1&gt;"><button>Go on <b>to</b> it</button></form>
<p>O&#39;Neil &amp; more</p><p><a href="/there?x=1&amp;y=%3C">To &lt;there&gt;</a></p></body>`

/**
 * Answers with what the case says; tells what it was asked, as `<method> <url> <cookie> <body>`.
 */
async function site(answer: (request: IncomingMessage, response: ServerResponse) => string) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      asked.push([request.method, request.url, request.headers.cookie ?? '-', body].join(' '))
      response.end(answer(request, response))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

test('presses the button with these words, keeps the cookie and follows the redirect as GET', async () => {
  const { url, asked } = await site((request, response) => {
    if (request.url === '/start') response.setHeader('set-cookie', ['a=1; Path=/', 'b=2; Path=/'])
    if (request.url?.startsWith('/go'))
      response.writeHead(302, { location: '/end', 'set-cookie': 'a=; Max-Age=0; Path=/' })
    return FORM
  })
  const browser = createBrowser(AbortSignal.timeout(10_000))
  const page = await browser.open(`${url}/start`)
  expect(await browser.press(page, 'Nowhere')).toBeNull()
  const landed = await browser.press(page, 'Go on to')
  expect([landed?.url.href, landed?.status, landed?.text]).toEqual([`${url}/end`, 200, FORM])
  expect(asked).toEqual(['GET /start - ', 'POST /go?a=1&b=2 a=1; b=2 t%22=%3C1%3E', 'GET /end b=2 '])
})

test('reads links and words as a person sees them', async () => {
  const { url } = await site(() => FORM)
  const page = await createBrowser(AbortSignal.timeout(10_000)).open(url)
  expect(linkOn(page, 'To <there>')?.href).toBe(`${url}/there?x=1&y=%3C`)
  expect(linkOn(page, 'elsewhere')).toBeNull()
  expect(wordsOn(page)).toBe("Cancel Go on to it O'Neil & more To <there>")
})

test('gives up after ten redirects', async () => {
  const { url, asked } = await site((_request, response) => {
    response.writeHead(302, { location: '/again' })
    return ''
  })
  await expect(createBrowser(AbortSignal.timeout(10_000)).open(url)).rejects.toThrow('redirect of 10')
  expect(asked).toHaveLength(11)
})
