// Whether a login may do something on Kafka, found by doing it. Each act would fail for another
// reason if it were let in (a partition that there is not, a member that nobody knows), so none
// leaves anything behind.
import {
  AclOperations,
  AclPermissionTypes,
  ConfigResourceTypes,
  Connection,
  createAclsV3,
  createTopicsV7,
  deleteRecordsV2,
  describeAclsV3,
  endTxnV4,
  fetchV12,
  heartbeatV4,
  incrementalAlterConfigsV1,
  IncrementalAlterConfigOperationTypes,
  metadataV12,
  produceV11,
  ProtocolError,
  ResourcePatternTypes,
  ResourceTypes,
  ResponseError,
} from '@platformatic/kafka'
import { clientOptions, type KafkaAccess } from '../../../infra/stack/kafka-operator.ts'

export const TOPIC_ACTS = ['READ', 'WRITE', 'DESCRIBE', 'CREATE', 'ALTER_CONFIGS', 'DELETE'] as const
export type TopicAct = (typeof TOPIC_ACTS)[number]
export const CLUSTER_ACTS = ['ALTER', 'DESCRIBE'] as const
export type ClusterAct = (typeof CLUSTER_ACTS)[number]

export interface Rights extends AsyncDisposable {
  mayTopic(act: TopicAct, topic: string): Promise<boolean>
  mayJoin(group: string): Promise<boolean>
  mayTransact(transactionalId: string): Promise<boolean>
  mayCluster(act: ClusterAct): Promise<boolean>
}

const LIMIT_MS = 10_000
/** No topic has so many partitions. */
const NO_PARTITION = 99_999
const NO_PRODUCER = 9_999_999_999n

/** Connects as the login. Throws when it is not let in at all. */
export async function openRights(access: KafkaAccess): Promise<Rights> {
  const { hostname, port } = new URL(`kafka://${access.brokers.split(',')[0]}`)
  const connection = new Connection('calstream-drill-rights', clientOptions(access))
  await connection.connect(hostname, Number(port))
  return {
    mayTopic: (act, topic) => isLetIn(topicAct(connection, act, topic)),
    mayJoin: (group) => isLetIn(heartbeatV4.api.async(connection, group, 1, 'nobody')),
    mayTransact: (id) => isLetIn(endTxnV4.api.async(connection, id, NO_PRODUCER, 0, false)),
    mayCluster: (act) => isLetIn(clusterAct(connection, act)),
    [Symbol.asyncDispose]: () => connection.close(),
  }
}

function topicAct(connection: Connection, act: TopicAct, topic: string): Promise<unknown> {
  switch (act) {
    case 'READ': {
      const partition = { partition: NO_PARTITION, currentLeaderEpoch: -1, fetchOffset: 0n }
      const wanted = { ...partition, lastFetchedEpoch: -1, partitionMaxBytes: 1 }
      // This version of the request knows names; the client calls the field by its later sense.
      const topics = [{ topicId: topic, partitions: [wanted] }]
      return fetchV12.api.async(connection, 0, 0, 1, 0, 0, -1, topics, [], '')
    }
    case 'WRITE': {
      const record = { topic, partition: NO_PARTITION, value: Buffer.from('none') }
      return produceV11.api.async(connection, -1, LIMIT_MS, [record])
    }
    case 'DESCRIBE':
      return metadataV12.api.async(connection, [topic])
    case 'CREATE': {
      const wanted = { name: topic, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }
      return createTopicsV7.api.async(connection, [wanted], LIMIT_MS, true)
    }
    case 'ALTER_CONFIGS': {
      const configOperation = IncrementalAlterConfigOperationTypes.SET
      const configs = [{ name: 'retention.ms', value: '1000', configOperation }]
      const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs }
      return incrementalAlterConfigsV1.api.async(connection, [resource], true)
    }
    case 'DELETE': {
      const partitions = [{ partitionIndex: NO_PARTITION, offset: 0n }]
      return deleteRecordsV2.api.async(connection, [{ name: topic, partitions }], LIMIT_MS)
    }
    default:
      return act satisfies never
  }
}

function clusterAct(connection: Connection, act: ClusterAct): Promise<unknown> {
  const rule = {
    resourceType: ResourceTypes.TOPIC,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    operation: AclOperations.READ,
    permissionType: AclPermissionTypes.ALLOW,
  }
  switch (act) {
    // A rule for nobody is refused to those who may make rules.
    case 'ALTER':
      return createAclsV3.api.async(connection, [{ ...rule, resourceName: 'none', principal: '', host: '*' }])
    case 'DESCRIBE':
      return describeAclsV3.api.async(connection, {
        ...rule,
        resourceName: 'none',
        principal: null,
        host: null,
      })
    default:
      return act satisfies never
  }
}

/** Throws what is no answer of a broker. */
async function isLetIn(act: Promise<unknown>): Promise<boolean> {
  try {
    await act
    return true
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error
    const words = error.errors.map((one) =>
      one instanceof ProtocolError ? String(one['apiId']) : one.message,
    )
    return !words.some((word) => word.endsWith('_AUTHORIZATION_FAILED'))
  }
}
