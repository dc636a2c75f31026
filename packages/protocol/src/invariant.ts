/** Our own code is wrong: crash loudly rather than go on with a broken assumption. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** @param message What must hold, in words a reader of the crash understands. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message)
}
