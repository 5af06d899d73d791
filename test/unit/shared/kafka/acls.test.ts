// The rights of our users on Kafka: what the list says, and what is made of what the brokers have.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import kafkajs, { type AclEntry } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { ourPrincipals, plannedRights, reportOf, type Right } from '#shared/kafka/acls.ts'

const {
  AclOperationTypes: Operation,
  AclPermissionTypes: Permission,
  AclResourceTypes: Resource,
  ResourcePatternTypes: Pattern,
} = kafkajs
const ROOT = path.resolve(import.meta.dirname, '../../../..')
const READ_RING: Right = {
  principal: 'User:calstream-sync',
  resource: 'TOPIC',
  pattern: 'LITERAL',
  name: 'p-calendar.sync.requested.google.v1',
  operation: 'READ',
}

function entry(changes: Partial<AclEntry> = {}): AclEntry {
  return {
    principal: READ_RING.principal,
    host: '*',
    permissionType: Permission.ALLOW,
    resourceType: Resource.TOPIC,
    resourceName: READ_RING.name,
    resourcePatternType: Pattern.LITERAL,
    operation: Operation.READ,
    ...changes,
  }
}

const problemsOf = (found: readonly AclEntry[], right = READ_RING) => reportOf([right], found, 'p-').problems

describe('the list', () => {
  const rights = plannedRights({ prefix: 'p-' })

  test('names our topics and groups alone, each with the prefix', () => {
    const names = (resource: Right['resource']) =>
      new Set(
        rights
          .filter((one) => one.resource === resource && one.pattern === 'LITERAL')
          .map(({ name }) => name),
      )
    expect(names('TOPIC')).toEqual(new Set(Object.values(TOPICS).map((topic) => `p-${topic}`)))
    expect(names('GROUP')).toEqual(new Set(Object.values(GROUPS).map((group) => `p-${group}`)))
    expect(names('CLUSTER')).toEqual(new Set(['kafka-cluster']))
  })

  test('gives strangers the topics that are marked for them, to read, and nothing else', () => {
    const file = readFileSync(path.join(ROOT, 'schemas/topics.json'), 'utf8')
    const { topics } = JSON.parse(file) as { topics: { name: string; readers: string }[] }
    const marked = topics.filter(({ readers }) => readers === 'everyone').map(({ name }) => `p-${name}`)
    expect(topics.filter(({ readers }) => readers === 'calstream')).toHaveLength(
      topics.length - marked.length,
    )
    const strangers = rights.filter(({ principal }) => principal === 'User:calstream-reader')
    const onTopics = strangers.filter(({ resource }) => resource === 'TOPIC')
    expect(onTopics.map(({ name }) => name).toSorted()).toEqual(marked.toSorted())
    expect(new Set(strangers.map(({ operation }) => operation))).toEqual(new Set(['READ']))
  })

  test('takes Kafka’s own name of a user', () => {
    const principals = new Map([['calstream-sync', 'User:CN=sync']])
    const named = plannedRights({ prefix: '', principals }).map(({ principal }) => principal)
    expect(named).toContain('User:CN=sync')
    expect(named).not.toContain('User:calstream-sync')
    expect(ourPrincipals()).toContain('calstream-sync')
  })
})

describe('a right', () => {
  test.each<[string, AclEntry]>([
    ['itself', entry()],
    ['ALL', entry({ operation: Operation.ALL })],
    ['everybody’s', entry({ principal: 'User:*' })],
    ['one to all topics', entry({ resourceName: '*' })],
    ['one to what begins so', entry({ resourceName: 'p-calendar.', resourcePatternType: Pattern.PREFIXED })],
  ])('is given by %s', (_what, found) => {
    expect(reportOf([READ_RING], [found], 'p-').rights[0]?.state).toBe('given')
  })

  test.each<[string, AclEntry[]]>([
    ['nothing', []],
    ['one of another user', [entry({ principal: 'User:calstream-relay' })]],
    ['one to another topic', [entry({ resourceName: 'p-other' })]],
    ['one to a group of that name', [entry({ resourceType: Resource.GROUP })]],
    ['DESCRIBE', [entry({ operation: Operation.DESCRIBE })]],
    ['one from a single host', [entry({ host: '10.0.0.1' })]],
    ['itself beside a denial', [entry(), entry({ permissionType: Permission.DENY })]],
    [
      'itself beside a denial of all',
      [entry(), entry({ permissionType: Permission.DENY, operation: Operation.ALL })],
    ],
  ])('is not given by %s', (_what, found) => {
    expect(problemsOf(found)).toContainEqual(
      expect.stringMatching(
        /^User:calstream-sync may not READ on topic p-calendar\.sync.*calstream acls apply/,
      ),
    )
  })

  test('to describe comes with the right to read, and to see the settings with the right to change them', () => {
    expect(problemsOf([entry()], { ...READ_RING, operation: 'DESCRIBE' })).not.toContainEqual(
      expect.stringContaining('may not'),
    )
    const alter = entry({ operation: Operation.ALTER_CONFIGS })
    expect(problemsOf([alter], { ...READ_RING, operation: 'DESCRIBE_CONFIGS' })).not.toContainEqual(
      expect.stringContaining('may not'),
    )
  })

  test('to what begins so is not given by one to a whole name', () => {
    const right: Right = { ...READ_RING, pattern: 'PREFIXED', name: 'p-calendar.' }
    expect(problemsOf([entry({ resourceName: 'p-calendar.' })], right)).toContainEqual(
      expect.stringContaining('may not READ on topic p-calendar.*'),
    )
  })
})

describe('what is more than needed', () => {
  test.each<[string, AclEntry, RegExp]>([
    ['another operation', entry({ operation: Operation.WRITE }), /may more than it needs: WRITE on topic/],
    ['ALL', entry({ operation: Operation.ALL }), /may more than it needs: ALL/],
    ['a denial', entry({ permissionType: Permission.DENY, operation: Operation.WRITE }), /is denied WRITE/],
    [
      'a right to the cluster',
      entry({ resourceType: Resource.CLUSTER, resourceName: 'kafka-cluster', operation: Operation.ALTER }),
      /ALTER on cluster/,
    ],
  ])('is told: %s', (_what, found, words) => {
    expect(problemsOf([entry(), found])).toEqual([expect.stringMatching(words)])
  })

  test('is not told of other users and other installations', () => {
    const foreign = [
      entry({ principal: 'User:somebody' }),
      entry({ resourceName: 'q-calendar.sync.requested.google.v1' }),
    ]
    expect(problemsOf([entry(), ...foreign])).toEqual([])
  })
})
