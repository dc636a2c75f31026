/** Our own bug when it fails; never a peer's. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`invariant: ${message}`)
}
