// Whether a broker takes us, read off one connection. KafkaJS tells a refused login to the caller
// alone, and a mechanism that is not offered before it calls any code that one may bring. What the
// broker answers to the two requests of a login is the same with every mechanism.
// https://kafka.apache.org/protocol#sasl_handshake

/** Every request and response begins with its size; see `wholeResponses`. */
const SIZE_BYTES = 4
/** Size, API key, version, correlation id. */
const REQUEST_HEAD_BYTES = 12
/** Size, correlation id, and in a login's answers the error code. */
const ANSWER_HEAD_BYTES = 10

const SASL_HANDSHAKE = 17
/** Answered to everybody. */
const API_VERSIONS = 18
const SASL_AUTHENTICATE = 36

/** https://kafka.apache.org/protocol#protocol_error_codes; in the words of KafkaJS. */
const REFUSALS: ReadonlyMap<number, { readonly type: string; readonly message: string }> = new Map([
  [
    33,
    {
      type: 'UNSUPPORTED_SASL_MECHANISM',
      message: 'The broker does not support the requested SASL mechanism',
    },
  ],
  [34, { type: 'ILLEGAL_SASL_STATE', message: 'Request is not valid given the current SASL state' }],
  [58, { type: 'SASL_AUTHENTICATION_FAILED', message: 'SASL Authentication failed' }],
])

/** What is done with what was seen. */
export interface LoginEnds {
  /** `error.type` is the broker's name of the refusal. */
  readonly refused: (error: Error) => void
  /** The broker answered what it answers to no stranger. */
  readonly taken: () => void
}

export class LoginWatch {
  readonly #ends: LoginEnds
  /** API key by correlation id, of requests whose answer tells something. */
  readonly #asked = new Map<number, number>()
  #isTaken = false

  constructor(ends: LoginEnds) {
    this.#ends = ends
  }

  /** One whole request of ours. */
  asked(request: Uint8Array): void {
    if (request.length < REQUEST_HEAD_BYTES) return
    const head = Buffer.from(request.buffer, request.byteOffset, REQUEST_HEAD_BYTES)
    const key = head.readInt16BE(SIZE_BYTES)
    if (key === API_VERSIONS || (this.#isTaken && !isLogin(key))) return
    this.#asked.set(head.readInt32BE(SIZE_BYTES + 4), key)
  }

  /** Whole responses, one behind the other. */
  answered(responses: Buffer): void {
    for (let at = 0; at < responses.length && this.#asked.size > 0;) {
      const end = at + SIZE_BYTES + responses.readInt32BE(at)
      this.#answer(responses.subarray(at, end))
      at = end
    }
  }

  #answer(response: Buffer): void {
    if (response.length < ANSWER_HEAD_BYTES) return
    const id = response.readInt32BE(SIZE_BYTES)
    const key = this.#asked.get(id)
    if (key === undefined) return
    this.#asked.delete(id)
    if (!isLogin(key)) {
      this.#isTaken = true
      this.#asked.clear()
      this.#ends.taken()
      return
    }
    const refusal = REFUSALS.get(response.readInt16BE(ANSWER_HEAD_BYTES - 2))
    if (refusal === undefined) return
    const own = key === SASL_AUTHENTICATE ? textAt(response, ANSWER_HEAD_BYTES) : ''
    this.#ends.refused(Object.assign(new Error(own || refusal.message), { type: refusal.type }))
  }
}

function isLogin(key: number): boolean {
  return key === SASL_HANDSHAKE || key === SASL_AUTHENTICATE
}

/** A nullable string: two bytes of length, −1 for none. */
function textAt(bytes: Buffer, at: number): string {
  const length = bytes.length >= at + 2 ? bytes.readInt16BE(at) : -1
  return length <= 0 ? '' : bytes.toString('utf8', at + 2, at + 2 + length)
}
