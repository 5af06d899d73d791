// The names of the semantic conventions of OpenTelemetry that our spans use, version 1.45. The
// package of the conventions gives their types alone: each name here is checked against it by the
// compiler, and no process loads its 11 MB. opentelemetry.io/docs/specs/semconv/messaging/kafka,
// opentelemetry.io/docs/specs/semconv/http/http-spans
import type * as Stable from '@opentelemetry/semantic-conventions'
import type * as Incubating from '@opentelemetry/semantic-conventions/incubating'

type Names = typeof Stable & typeof Incubating

export const ERROR_TYPE: Names['ATTR_ERROR_TYPE'] = 'error.type'
export const SERVICE_NAME: Names['ATTR_SERVICE_NAME'] = 'service.name'
export const SERVICE_VERSION: Names['ATTR_SERVICE_VERSION'] = 'service.version'

export const HTTP_METHOD: Names['ATTR_HTTP_REQUEST_METHOD'] = 'http.request.method'
export const HTTP_ROUTE: Names['ATTR_HTTP_ROUTE'] = 'http.route'
export const HTTP_STATUS: Names['ATTR_HTTP_RESPONSE_STATUS_CODE'] = 'http.response.status_code'
export const URL_SCHEME: Names['ATTR_URL_SCHEME'] = 'url.scheme'
export const SERVER_ADDRESS: Names['ATTR_SERVER_ADDRESS'] = 'server.address'
export const SERVER_PORT: Names['ATTR_SERVER_PORT'] = 'server.port'

export const MESSAGING_SYSTEM: Names['ATTR_MESSAGING_SYSTEM_NAME'] = 'messaging.system.name'
export const KAFKA: Names['MESSAGING_SYSTEM_NAME_VALUE_KAFKA'] = 'kafka'
export const OPERATION_NAME: Names['ATTR_MESSAGING_OPERATION_NAME'] = 'messaging.operation.name'
export const OPERATION_TYPE: Names['ATTR_MESSAGING_OPERATION_TYPE'] = 'messaging.operation.type'
export const CREATE: Names['MESSAGING_OPERATION_TYPE_VALUE_CREATE'] = 'create'
export const SEND: Names['MESSAGING_OPERATION_TYPE_VALUE_SEND'] = 'send'
export const PROCESS: Names['MESSAGING_OPERATION_TYPE_VALUE_PROCESS'] = 'process'
export const DESTINATION: Names['ATTR_MESSAGING_DESTINATION_NAME'] = 'messaging.destination.name'
export const PARTITION: Names['ATTR_MESSAGING_DESTINATION_PARTITION_ID'] =
  'messaging.destination.partition.id'
export const CONSUMER_GROUP: Names['ATTR_MESSAGING_CONSUMER_GROUP_NAME'] = 'messaging.consumer.group.name'
export const BATCH_COUNT: Names['ATTR_MESSAGING_BATCH_MESSAGE_COUNT'] = 'messaging.batch.message_count'
export const MESSAGE_ID: Names['ATTR_MESSAGING_MESSAGE_ID'] = 'messaging.message.id'
export const MESSAGE_KEY: Names['ATTR_KAFKA_MESSAGE_KEY'] = 'kafka.message.key'
export const OFFSET: Names['ATTR_KAFKA_OFFSET'] = 'kafka.offset'

/** Ours: google or microsoft. */
export const VENDOR = 'calstream.vendor'
