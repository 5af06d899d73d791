// Counts the values of JSON while its bytes arrive, so that a text of five million empty objects is
// given up before it is parsed. An upper bound: every object, list and comma outside of strings
// counts. Anything that is no JSON gets some number too.

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const LIST = 0x5b
const OBJECT = 0x7b

/** A counter for one text. It is called with the bytes in order and returns the count so far. */
export function createValueCounter(): (bytes: Uint8Array) => number {
  let count = 0
  let isInString = false
  let isEscaped = false
  return (bytes) => {
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at]
      if (isEscaped) isEscaped = false
      else if (byte === QUOTE) isInString = !isInString
      else if (isInString) isEscaped = byte === BACKSLASH
      else if (byte === COMMA || byte === LIST || byte === OBJECT) count += 1
    }
    return count
  }
}
