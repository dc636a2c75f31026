/**
 * A film that cannot be packaged, and why, in words for whoever uploaded it.
 *
 * - `unsupported`: a sound file of a kind that HLS and DASH players do not take, or that we do not read
 * - `damaged`: it is cut off, or contradicts itself
 * - `beyond-limits`: larger, longer or slower to read than one of the bounds that this library keeps
 */
export class UnpackageableError extends Error {
  override readonly name = 'UnpackageableError'
  readonly code = 'UNPACKAGEABLE'
  readonly kind: 'unsupported' | 'damaged' | 'beyond-limits'

  constructor(kind: UnpackageableError['kind'], reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.kind = kind
  }
}

export function unsupported(reason: string): UnpackageableError {
  return new UnpackageableError('unsupported', reason)
}
export function damaged(reason: string, options?: ErrorOptions): UnpackageableError {
  return new UnpackageableError('damaged', reason, options)
}
export function beyondLimits(reason: string): UnpackageableError {
  return new UnpackageableError('beyond-limits', reason)
}
