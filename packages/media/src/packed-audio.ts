/**
 * MP3 as HLS has it without a container: RFC 8216 §3.4. Browsers' MediaSource takes MP3 bare, and not in an MP4.
 *
 *   ID3v2.4 tag with one PRIV frame:
 *     owner  "com.apple.streaming.transportStreamTimestamp"
 *     data   u64: when the first frame is shown, 33 bits at 90 kHz
 */

const OWNER = 'com.apple.streaming.transportStreamTimestamp'
const FRAME_BYTES = OWNER.length + 1 + 8
const TAG_BYTES = 10 + FRAME_BYTES
export const PACKED_HEAD_BYTES = 10 + TAG_BYTES
const CLOCK_HZ = 90_000
const CLOCK_END = 2 ** 33

export function isPacked({ codecName }: { codecName: string | null }): boolean {
  return codecName === 'mp3'
}

/** @param seconds  at which the segment begins on the film's clock; what is before its beginning counts as that */
export function packedHead(seconds: number): Uint8Array {
  const bytes = Buffer.alloc(PACKED_HEAD_BYTES)
  bytes.write('ID3', 0, 'latin1')
  bytes[3] = 4
  bytes[9] = TAG_BYTES
  bytes.write('PRIV', 10, 'latin1')
  bytes[17] = FRAME_BYTES
  bytes.write(OWNER, 20, 'latin1')
  const ticks = Math.round(Math.max(0, seconds) * CLOCK_HZ) % CLOCK_END
  bytes.writeBigUInt64BE(BigInt(ticks), 20 + OWNER.length + 1)
  return bytes
}
