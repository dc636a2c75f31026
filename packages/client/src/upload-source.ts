/** What an upload reads from: opened once an attempt, where it can be read again. */
import { open, type FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { INLINE_BYTES_MAX, RejectedError } from '@tributary/protocol'
import type { SourceReader, UploadSource } from './contract.ts'

/** One read of a file: few calls, and two buffers of it per upload. */
const READ_BYTES = 512 * 1024

export interface OpenSource {
  readonly sizeBytes: number | undefined
  /** The whole content, where it is small. */
  readonly bytes: Buffer | undefined
  /** File name to be shown. */
  readonly name: string
  /** Something was taken of a source that can be read only once. */
  readonly spent: boolean
  reader(): SourceReader
  /** Does not wait for a stream that is silent. */
  close(): void
}

/**
 * @param sizeBytes What the caller says of a stream.
 * @throws {RejectedError} BAD_FIELD: a folder. An error of the file system.
 */
export async function openSource(source: UploadSource, sizeBytes: number | undefined): Promise<OpenSource> {
  if (typeof source === 'string') return openPath(source, sizeBytes)
  if (source instanceof URL) {
    if (source.protocol !== 'file:')
      throw new RejectedError('BAD_FIELD', `${source.protocol} addresses cannot be uploaded`)
    return openPath(fileURLToPath(source), sizeBytes)
  }
  if (source instanceof Uint8Array) {
    const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength)
    checkSize(sizeBytes, bytes.byteLength)
    return fromBytes(bytes, '')
  }
  return fromStream(source, sizeBytes)
}

async function openPath(path: string, sizeBytes: number | undefined): Promise<OpenSource> {
  const file = await open(path, 'r')
  try {
    const status = await file.stat()
    const name = basename(path)
    if (status.isDirectory()) throw new RejectedError('BAD_FIELD', `${path} is a folder`)
    // A pipe or a device has no size and can be read once.
    if (!status.isFile())
      return await fromStream(file.createReadStream({ highWaterMark: READ_BYTES }), sizeBytes, name)
    checkSize(sizeBytes, status.size)
    if (status.size <= INLINE_BYTES_MAX) {
      const reader = new FileReader(file, path, status.size)
      const parts: Buffer[] = []
      for (let part = await reader.read(false); part; part = await reader.read(false)) parts.push(part)
      await file.close()
      return fromBytes(Buffer.concat(parts), name)
    }
    return {
      sizeBytes: status.size,
      bytes: undefined,
      name,
      spent: false,
      reader: () => new FileReader(file, path, status.size),
      close: () => void file.close()
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Reads a file by position into two buffers in turn, and notices when it changes its size. */
class FileReader implements SourceReader {
  readonly #file: FileHandle
  readonly #path: string
  readonly #sizeBytes: number
  readonly #buffers: (Buffer | undefined)[] = [undefined, undefined]
  #turn = 0
  #positionBytes = 0

  constructor(file: FileHandle, path: string, sizeBytes: number) {
    this.#file = file
    this.#path = path
    this.#sizeBytes = sizeBytes
  }

  async read(reusable: boolean): Promise<Buffer | undefined> {
    const wantedBytes = Math.min(READ_BYTES, this.#sizeBytes - this.#positionBytes)
    if (wantedBytes === 0) return undefined
    this.#turn = 1 - this.#turn
    const buffer =
      (reusable ? this.#buffers[this.#turn] : undefined) ??
      (this.#buffers[this.#turn] = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, this.#sizeBytes)))
    let filledBytes = 0
    while (filledBytes < wantedBytes) {
      const { bytesRead } = await this.#file.read(
        buffer,
        filledBytes,
        wantedBytes - filledBytes,
        this.#positionBytes + filledBytes
      )
      if (bytesRead === 0) throw this.#changed()
      filledBytes += bytesRead
    }
    this.#positionBytes += wantedBytes
    // Looked at before the last bytes leave: an upload that is cut short leaves nothing behind.
    if (this.#positionBytes === this.#sizeBytes && (await this.#file.stat()).size !== this.#sizeBytes) {
      throw this.#changed()
    }
    return buffer.subarray(0, wantedBytes)
  }

  #changed(): RejectedError {
    return new RejectedError('SIZE_MISMATCH', `${this.#path} changed its size while it was being read`)
  }
}

function fromBytes(bytes: Buffer, name: string): OpenSource {
  return {
    sizeBytes: bytes.byteLength,
    bytes: bytes.byteLength <= INLINE_BYTES_MAX ? bytes : undefined,
    name,
    spent: false,
    reader: () => {
      let offset = 0
      return {
        async read() {
          const part = bytes.subarray(offset, offset + READ_BYTES)
          offset += part.byteLength
          return part.byteLength > 0 ? part : undefined
        }
      }
    },
    close() {}
  }
}

/**
 * A stream's first bytes are kept: a short one can be sent as often as needed, and its size is known. One that is
 * said to be large is not touched before a server takes it: until then its sender can still be refused.
 */
async function fromStream(
  stream: AsyncIterable<Uint8Array>,
  sizeBytes: number | undefined,
  name = ''
): Promise<OpenSource> {
  const iterator = stream[Symbol.asyncIterator]()
  const first: Buffer[] = []
  let firstBytes = 0
  let taken = false
  const close = (): void => void iterator.return?.().catch(() => {})
  try {
    const keptBytes = sizeBytes !== undefined && sizeBytes > INLINE_BYTES_MAX ? -1 : INLINE_BYTES_MAX
    while (firstBytes <= keptBytes) {
      const chunk = await next(iterator)
      if (chunk === undefined) {
        checkSize(sizeBytes, firstBytes)
        return fromBytes(Buffer.concat(first), name)
      }
      first.push(chunk)
      firstBytes += chunk.byteLength
      if (sizeBytes !== undefined) checkNotAbove(sizeBytes, firstBytes)
    }
  } catch (error) {
    close()
    throw error
  }
  return {
    sizeBytes,
    bytes: undefined,
    name,
    get spent() {
      return taken
    },
    reader: () => {
      let doneBytes = 0
      return {
        async read() {
          taken = true
          const chunk = first.shift() ?? (await next(iterator))
          doneBytes += chunk?.byteLength ?? 0
          if (sizeBytes !== undefined) {
            if (chunk === undefined) checkSize(sizeBytes, doneBytes)
            else checkNotAbove(sizeBytes, doneBytes)
          }
          return chunk
        }
      }
    },
    close
  }
}

async function next(iterator: AsyncIterator<Uint8Array>): Promise<Buffer | undefined> {
  for (;;) {
    const { done, value } = await iterator.next()
    if (done) return undefined
    if (!((value as unknown) instanceof Uint8Array))
      throw new TypeError('an upload reads bytes: give it a stream without encoding')
    if (value.byteLength > 0) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
}

function checkSize(expectedBytes: number | undefined, bytes: number): void {
  if (expectedBytes === undefined || expectedBytes === bytes) return
  throw new RejectedError('SIZE_MISMATCH', `the content has ${bytes} bytes, ${expectedBytes} were announced`)
}

function checkNotAbove(expectedBytes: number, bytes: number): void {
  if (bytes > expectedBytes) {
    throw new RejectedError(
      'SIZE_MISMATCH',
      `the content has more than the ${expectedBytes} bytes that were announced`
    )
  }
}
