/** Whole upload frames out of a stream; in the usual case the chunk itself. */
const HEADER_BYTES = 10

export function splitFrames(take: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer | undefined
  return chunk => {
    let bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk])
    rest = undefined
    while (bytes.byteLength >= HEADER_BYTES) {
      const frameBytes = HEADER_BYTES + bytes.readUInt32BE(4)
      if (bytes.byteLength < frameBytes) break
      take(bytes.subarray(0, frameBytes))
      bytes = bytes.subarray(frameBytes)
    }
    if (bytes.byteLength > 0) rest = bytes
  }
}

/** Bytes of an upload's frame in front of its content. */
export const UPLOAD_OVERHEAD_BYTES = HEADER_BYTES + 408
export const UPLOADED_REPLY = Buffer.from('00000000000000006600', 'hex')
