/** Checksums of whole files, read a piece at a time. */
import { closeSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

const PIECE_BYTES = 1024 * 1024
/** Up to here the hops to the thread pool take longer than the read. */
const SMALL_BYTES = 64 * 1024

/** Of one file after the other, through one buffer. For a process that does nothing else: small files are waited for. */
export class FileChecksums {
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_BYTES)

  /**
   * @param sizeBytes As long as it should be; it may be longer or shorter.
   * @throws the file system's error, such as ENOENT or EIO
   */
  async of(path: string, sizeBytes: number): Promise<number> {
    if (sizeBytes <= SMALL_BYTES) return this.#ofSmall(path)
    const handle = await open(path, 'r')
    try {
      let sum = 0
      for (;;) {
        const { bytesRead } = await handle.read(this.#buffer, 0, PIECE_BYTES)
        if (bytesRead === 0) return sum
        sum = crc32(this.#buffer.subarray(0, bytesRead), sum)
      }
    } finally {
      await handle.close()
    }
  }

  #ofSmall(path: string): number {
    const fd = openSync(path, 'r')
    try {
      let sum = 0
      for (;;) {
        const bytesRead = readSync(fd, this.#buffer, 0, PIECE_BYTES, null)
        if (bytesRead === 0) return sum
        sum = crc32(this.#buffer.subarray(0, bytesRead), sum)
      }
    } finally {
      closeSync(fd)
    }
  }
}

export function checksumText(sum: number): string {
  return sum.toString(16).padStart(8, '0')
}
