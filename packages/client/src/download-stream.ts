/** Fetched content as a Readable: reads no further than its reader does, and checks the checksum of whole files. */
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { formatFileKey, UnavailableError, type FileKey } from '@tributary/protocol'
import type { FetchedContent, ProgressListener } from './contract.ts'

/** Bytes that may wait in the stream for its reader. */
const WAITING_BYTES_MAX = 1024 * 1024

export class Checksum {
  readonly #expected: number | undefined
  #crc = 0

  /** Only a whole file with a generation has a checksum to be compared with. */
  constructor({ whole, facts }: FetchedContent) {
    this.#expected = whole && facts.generation !== '' ? facts.crc32 : undefined
  }

  update(bytes: Buffer): void {
    if (this.#expected !== undefined) this.#crc = crc32(bytes, this.#crc)
  }

  failureFor(key: FileKey): UnavailableError | undefined {
    if (this.#expected === undefined || this.#expected === this.#crc) return undefined
    return new UnavailableError(
      'CHECKSUM_MISMATCH',
      `the bytes received of ${formatFileKey(key)} are not the ones that were stored: checksum ` +
        `${this.#crc.toString(16)} instead of ${this.#expected.toString(16)}`
    )
  }
}

export function readableOf(
  key: FileKey,
  content: FetchedContent,
  signal: AbortSignal | undefined,
  onProgress: ProgressListener | undefined
): Readable {
  const checksum = new Checksum(content)
  const ended = new AbortController()
  const held: (() => void)[] = []
  let doneBytes = 0
  let begun = false

  function push(bytes: Buffer): boolean {
    checksum.update(bytes)
    doneBytes += bytes.byteLength
    const more = readable.push(bytes)
    onProgress?.({ doneBytes, totalBytes: content.lengthBytes })
    return more
  }

  async function give(): Promise<void> {
    if (content.bytes) {
      if (content.bytes.byteLength > 0) push(content.bytes)
    } else {
      await content.stream!(
        (piece, release) => {
          // A copy: the reader may keep what it reads, the piece goes back to the connection.
          if (push(Buffer.from(piece))) release()
          else held.push(release)
        },
        { signal: signal ? AbortSignal.any([signal, ended.signal]) : ended.signal }
      )
    }
    const failure = checksum.failureFor(key)
    if (failure) throw failure
    readable.push(null)
  }

  const readable = new Readable({
    highWaterMark: WAITING_BYTES_MAX,
    read() {
      for (const release of held.splice(0)) release()
      if (begun) return
      begun = true
      give().catch((error: Error) => readable.destroy(error))
    },
    destroy(error, callback) {
      ended.abort(error)
      content.cancel()
      for (const release of held.splice(0)) release()
      callback(error)
    }
  })
  return readable
}
