// A trouble that the person at the keyboard can solve:
// its message is the whole story, printed without a stack.
export class Problem extends Error {
  override readonly name = 'Problem'
}
