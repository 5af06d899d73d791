// What the parts of the secured stack are told, and the authority that they trust.
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { keptAuthority } from '../../../../infra/stack/authority.ts'
import { type ClusterPorts, NODE_IDS, nodeProperties } from '../../../../infra/stack/kafka-cluster.ts'
import { checkedBy, writeTlsFiles } from '../../../../infra/stack/postgres-tls.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-secured-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('the authority of a secured stack', () => {
  test('is made once, and no key of it can be read by others', async () => {
    const first = await keptAuthority(folder)
    const certificate = readFileSync(first.caFile, 'utf8')
    const again = await keptAuthority(folder)
    expect(readFileSync(again.caFile, 'utf8')).toBe(certificate)
    for (const name of readdirSync(folder))
      expect(statSync(path.join(folder, name)).mode & 0o077, name).toBe(0)
  })

  test('issues certificates for this machine that nobody else could have issued', async () => {
    const ours = await keptAuthority(folder)
    const stranger = await keptAuthority(path.join(folder, 'stranger'))
    const [ca, other] = [ours, stranger].map(({ caFile }) => new X509Certificate(readFileSync(caFile)))
    const leaf = new X509Certificate((await ours.issue('kafka')).certificate)
    expect(leaf.subject).toBe('CN=kafka')
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1')
    expect(leaf.checkHost('localhost')).toBe('localhost')
    expect(leaf.checkHost('example.com')).toBeUndefined()
    expect(leaf.ca).toBe(false)
    expect(leaf.verify(ca!.publicKey)).toBe(true)
    expect(leaf.verify(other!.publicKey)).toBe(false)
  })

  test('issues one that is over, for those who have to see it refused', async () => {
    const { certificate } = await (await keptAuthority(folder)).issue('kafka', -1_000)
    const { validFromDate, validToDate } = new X509Certificate(certificate)
    expect(validToDate.getTime()).toBeLessThan(Date.now())
    expect(validFromDate.getTime()).toBeLessThan(validToDate.getTime())
  })
})

describe('each broker of the three', () => {
  const portsOf = (id: number): ClusterPorts => ({
    client: 1000 + id,
    broker: 2000 + id,
    controller: 3000 + id,
  })
  const ports = { 1: portsOf(1), 2: portsOf(2), 3: portsOf(3) }
  const told = async (id: (typeof NODE_IDS)[number]) =>
    nodeProperties({ ports, authority: await keptAuthority(folder), authenticateAgainMs: 60_000 }, id)

  test.each(NODE_IDS)('%i has no way in without TLS, and none for clients without a login', async (id) => {
    const all = await told(id)
    const map = all['listener.security.protocol.map'] ?? ''
    expect(map).not.toContain('PLAINTEXT')
    const protocols = Object.fromEntries(map.split(',').map((one) => one.split(':')))
    const names = (all['listeners'] ?? '').split(',').map((one) => one.split('://')[0] ?? '')
    expect(names).toEqual(['CLIENTS', 'BROKERS', 'CONTROLLER'])
    expect(protocols['CLIENTS']).toBe('SASL_SSL')
    // A listener without a login asks for a certificate instead.
    for (const name of names.filter((one) => protocols[one] === 'SSL'))
      expect(all[`listener.name.${name.toLowerCase()}.ssl.client.auth`], name).toBe('required')
  })

  test.each(NODE_IDS)('%i denies what no rule allows and counts a record that two hold', async (id) => {
    expect(await told(id)).toMatchObject({
      'node.id': String(id),
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'allow.everyone.if.no.acl.found': 'false',
      'super.users': 'User:admin;User:kafka',
      'default.replication.factor': '3',
      'min.insync.replicas': '2',
      'offsets.topic.replication.factor': '3',
      'transaction.state.log.replication.factor': '3',
      'transaction.state.log.min.isr': '2',
      'unclean.leader.election.enable': 'false',
      'connections.max.reauth.ms': '60000',
    })
  })

  test('tells clients behind a proxy the address of the proxy, with the same login', async () => {
    const proxied = { ...ports, 2: { ...ports[2], proxied: { port: 4002, advertised: 5002 } } }
    const authority = await keptAuthority(folder)
    const all = nodeProperties({ ports: proxied, authority, authenticateAgainMs: 60_000 }, 2)
    expect(all['listeners']).toContain('PROXIED://127.0.0.1:4002')
    expect(all['advertised.listeners']).toContain('PROXIED://127.0.0.1:5002')
    expect(all['listener.security.protocol.map']).toContain('PROXIED:SASL_SSL')
  })
})

describe('the database server', () => {
  test('has one rule, for TLS alone, and a key of its own', async () => {
    const home = {
      binaries: '',
      data: path.join(folder, 'data'),
      passwordFile: '',
      user: undefined,
      env: {},
      outside: null,
    }
    const args = await writeTlsFiles(home, await keptAuthority(path.join(folder, 'authority')))
    expect(args).toContain('ssl=on')
    const rules = readFileSync(path.join(folder, 'hba.conf'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
    expect(rules).toEqual(['hostssl all      all  127.0.0.1/32 scram-sha-256'])
    expect(statSync(path.join(folder, 'server.key')).mode & 0o077).toBe(0)
  })

  test('is told to clients with what they have to check of it', () => {
    const url = new URL(`postgres://a:b@127.0.0.1:1/calstream${checkedBy('/some where/ca.pem')}`)
    expect(url.searchParams.get('sslmode')).toBe('verify-full')
    expect(url.searchParams.get('sslrootcert')).toBe('/some where/ca.pem')
  })
})
