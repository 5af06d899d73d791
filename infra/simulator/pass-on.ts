// Passes connections on, port by port, to another host:
// `node pass-on.ts <host> <port>[:<port there>] …`. In Compose it publishes the ports of the play
// vendors, which live in the network of the ingress and so have none of their own.
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'

const [host, ...ports] = process.argv.slice(2)
if (host === undefined || ports.length === 0) {
  process.stderr.write('Say where to: <host> <port>[:<port there>] …\n')
  process.exit(2)
}
for (const pair of ports) {
  const [here, there = here] = pair.split(':').map(Number)
  createServer((client) => {
    const server = connect(Number(there), host)
    // A side that breaks ends both; the next connection tries again.
    pipeline(client, server, client, () => undefined)
  }).listen(here)
}
process.on('SIGTERM', () => process.exit(0))
