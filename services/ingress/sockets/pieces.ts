// Where the bytes of a socket are cut before the parser sees them, so that no piece holds the end
// of one request and the beginning of the next but one. Pure. It reads no HTTP: the parser alone
// decides what a request is, and a wrong cut costs nothing but one more round.

/** What the parser expects next. */
export type Stage =
  | { readonly kind: 'head' }
  | { readonly kind: 'sized'; readonly left: number }
  /** `cuts`: pieces that this body has had. */
  | { readonly kind: 'chunked'; readonly cuts: number }

const LF = 10
const CR = 13
/**
 * A chunked body may be full of empty lines; cut at each of them, 1 MB would cost a second of
 * processor. So only the first pieces of a body may be shorter than this. The shortest request has
 * 18 bytes: at most three of them hide behind the end of such a body.
 */
const LATER_PIECE_MIN = 64
const EXACT_CUTS = 16

export interface Piece {
  /** Bytes of the next piece, from the beginning. */
  readonly length: number
  /** Whether what follows it continues a line that is empty so far. */
  readonly lineIsEmpty: boolean
}

/**
 * The next piece of `bytes` (not empty). A head ends with an empty line, a chunked body too
 * (RFC 9112 §2.1, §7.1); a sized body ends where its length says.
 */
export function nextPiece(bytes: Buffer, stage: Stage, lineIsEmpty: boolean): Piece {
  const length = lengthOf(bytes, stage, lineIsEmpty)
  return { length, lineIsEmpty: stage.kind === 'sized' ? false : endsEmpty(bytes, length, lineIsEmpty) }
}

/** How many line ends stand before a request; a server ignores them (RFC 9112 §2.2). */
export function leadingLineEnds(bytes: Buffer): number {
  let count = 0
  while (bytes[count] === CR || bytes[count] === LF) count += 1
  return count
}

function lengthOf(bytes: Buffer, stage: Stage, lineIsEmpty: boolean): number {
  if (stage.kind === 'sized') return Math.min(bytes.length, Math.max(1, stage.left))
  const least = stage.kind === 'chunked' && stage.cuts >= EXACT_CUTS ? LATER_PIECE_MIN : 1
  let start = 0
  let isEmpty = lineIsEmpty
  for (;;) {
    const at = bytes.indexOf(LF, start)
    if (at < 0) return bytes.length
    if (isEmpty && onlyReturn(bytes, start, at) && at + 1 >= least) return at + 1
    isEmpty = true
    start = at + 1
  }
}

function onlyReturn(bytes: Buffer, from: number, to: number): boolean {
  return to === from || (to === from + 1 && bytes[from] === CR)
}

function endsEmpty(bytes: Buffer, length: number, lineIsEmpty: boolean): boolean {
  const last = bytes.lastIndexOf(LF, length - 1)
  return onlyReturn(bytes, last + 1, length) && (last >= 0 || lineIsEmpty)
}
