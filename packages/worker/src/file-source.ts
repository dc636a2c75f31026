import { open, type FileHandle } from 'node:fs/promises'
import type { ByteSource } from '@tributary/media'

/** A file of our own, to be looked through like a stored one. */
export class FileSource implements ByteSource {
  readonly sizeBytes: number
  readonly #file: FileHandle

  private constructor(file: FileHandle, sizeBytes: number) {
    this.#file = file
    this.sizeBytes = sizeBytes
  }

  static async open(path: string): Promise<FileSource> {
    const file = await open(path)
    return new FileSource(file, (await file.stat()).size)
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    const buffer = Buffer.alloc(end - start)
    const { bytesRead } = await this.#file.read(buffer, 0, buffer.byteLength, start)
    return buffer.subarray(0, bytesRead)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
