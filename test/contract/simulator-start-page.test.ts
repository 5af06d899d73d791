// The page at `/` of the simulator's admin port:
// a person copies its lines, so they have to work as they stand.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { unescape } from 'html-escaper'
import { expect, test } from 'vitest'
import { startSimulator } from '../../infra/simulator/service.ts'

const run = promisify(execFile)

test('lists every call, and each line without a name to fill in works as it is copied', async () => {
  await using simulator = await startSimulator({ googlePort: 0, adminPort: 0 })
  const post = (path: string, body: unknown) =>
    fetch(`${simulator.adminUrl}${path}`, { method: 'POST', body: JSON.stringify(body) })
  expect(await text(simulator.adminUrl)).toContain('Nobody yet')
  await post('/admin/accounts', { email: '<b>"o\'neil"@example.com', calendars: 1, eventsPerCalendar: 1 })

  const html = await text(simulator.adminUrl)
  expect(html).toContain('&lt;b&gt;&quot;o&#39;neil&quot;@example.com')
  expect(html).not.toContain('<b>')
  const lines = [...html.matchAll(/<pre>([\s\S]*?)<\/pre>/g)].map(([, line = '']) => unescape(line))
  expect(lines.length).toBeGreaterThan(45)
  // Ends what the others are about, or names what does not exist yet.
  const able = lines.filter(
    (line) => !/:[a-zA-Z]+Id\b|-X DELETE|reset|revoke|of GET|the other|forged/.test(line),
  )
  expect(able.length).toBeGreaterThan(25)
  for (const line of able) {
    const { stdout } = await run('bash', ['-c', `${line} -o /dev/null -w '%{http_code}'`])
    expect(stdout, line).toMatch(/^20\d$/)
  }
})

async function text(url: string): Promise<string> {
  const response = await fetch(`${url}/`)
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toMatch(/^text\/html/)
  return response.text()
}
