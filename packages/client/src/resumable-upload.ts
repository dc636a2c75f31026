/** One file, uploaded so that whatever dies in between costs a moment: servers, connections, or this program. */
import { open, type FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'
import { crc32 } from 'node:zlib'
import { RejectedError, type FileKey } from '@tributary/protocol'
import type { ResumableOptions, ResumableUploads, SourceReader, Uploaded, UploadStatus } from './contract.ts'
import { isCode, Patience, worthElsewhere } from './retry-rules.ts'

/** For so long without a byte more, by default, an upload is tried again. */
export const RESUME_FOR_MS = 60_000
const READ_BYTES = 512 * 1024

/** @param path A regular file. */
export async function uploadResumable(
  uploads: ResumableUploads,
  path: string,
  options: ResumableOptions
): Promise<Uploaded> {
  const file = await open(path, 'r')
  try {
    const status = await file.stat()
    if (!status.isFile()) {
      throw new RejectedError(
        'BAD_FIELD',
        `${path} is no regular file: only what can be read again can be resumed`
      )
    }
    return await new ResumableUpload(uploads, path, file, status.size, options).run()
  } finally {
    await file.close()
  }
}

class ResumableUpload {
  readonly #uploads: ResumableUploads
  readonly #path: string
  readonly #file: FileHandle
  readonly #sizeBytes: number
  readonly #options: ResumableOptions
  /** Of what was read so far: each byte of the file is read for it once. */
  #crc = 0
  #crcBytes = 0

  constructor(
    uploads: ResumableUploads,
    path: string,
    file: FileHandle,
    sizeBytes: number,
    options: ResumableOptions
  ) {
    this.#uploads = uploads
    this.#path = path
    this.#file = file
    this.#sizeBytes = sizeBytes
    this.#options = options
  }

  async run(): Promise<Uploaded> {
    const { resumeForMs = RESUME_FOR_MS, signal, onProgress } = this.#options
    let upload = await this.#begin()
    let patience = new Patience(resumeForMs, signal)
    let fence = upload.fence
    while (upload.offsetBytes < this.#sizeBytes) {
      await this.#compare(upload)
      onProgress?.({ doneBytes: upload.offsetBytes, totalBytes: this.#sizeBytes })
      try {
        upload = await this.#append(upload)
        fence = upload.fence
      } catch (error) {
        if (!isPassing(error) || signal?.aborted) throw error
        if (!(await patience.pause())) throw error
        const reached = upload.offsetBytes
        upload = await this.#uploads.status(upload.id, { signal })
        // Its own attempt took one token at most.
        if (upload.fence > fence + 1) {
          throw new RejectedError('UPLOAD_TAKEN', 'somebody else goes on with this upload', { cause: error })
        }
        fence = upload.fence
        if (upload.offsetBytes > reached) patience = new Patience(resumeForMs, signal)
      }
    }
    for (;;) {
      try {
        const uploaded = await this.#uploads.commit(upload.id, { signal })
        onProgress?.({ doneBytes: this.#sizeBytes, totalBytes: this.#sizeBytes })
        return uploaded
      } catch (error) {
        // The same upload cannot be stored twice: it is simply asked for again.
        if (!isPassing(error) || signal?.aborted || !(await patience.pause())) throw error
      }
    }
  }

  async #begin(): Promise<UploadStatus> {
    const { key, id, isBegun, name = basename(this.#path), mediaType, clientIp, signal } = this.#options
    if (isBegun) {
      const upload = await this.#uploads.status(id!, { signal })
      if (upload.sizeBytes !== this.#sizeBytes || !isKey(upload, key)) {
        throw new RejectedError('SIZE_MISMATCH', `${this.#path} is not the file whose upload was begun`)
      }
      return upload
    }
    return this.#uploads.create({
      ...key,
      sizeBytes: this.#sizeBytes,
      id,
      name,
      mediaType,
      clientIp,
      signal
    })
  }

  /** What is there has to be what this file begins with. @throws {RejectedError} UPLOAD_CHECKSUM */
  async #compare({ offsetBytes, crc32: expected }: UploadStatus): Promise<void> {
    if (offsetBytes < this.#crcBytes) {
      this.#crc = 0
      this.#crcBytes = 0
    }
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, Math.max(1, offsetBytes - this.#crcBytes)))
    while (this.#crcBytes < offsetBytes) {
      const wanted = Math.min(buffer.byteLength, offsetBytes - this.#crcBytes)
      const { bytesRead } = await this.#file.read(buffer, 0, wanted, this.#crcBytes)
      if (bytesRead === 0) throw this.#changed()
      this.#crc = crc32(buffer.subarray(0, bytesRead), this.#crc)
      this.#crcBytes += bytesRead
      this.#options.signal?.throwIfAborted()
    }
    if (this.#crc !== expected) {
      throw new RejectedError(
        'UPLOAD_CHECKSUM',
        `${this.#path} does not begin with the ${offsetBytes} bytes that were uploaded before`
      )
    }
  }

  #append({ id, offsetBytes, fence }: UploadStatus): Promise<UploadStatus> {
    const { signal, onProgress } = this.#options
    return this.#uploads.append(id, this.#readerFrom(offsetBytes), {
      offsetBytes,
      sizeBytes: this.#sizeBytes - offsetBytes,
      fence,
      signal,
      onProgress: doneBytes => onProgress?.({ doneBytes, totalBytes: this.#sizeBytes })
    })
  }

  #readerFrom(start: number): SourceReader {
    let at = start
    return {
      read: async () => {
        const wanted = Math.min(READ_BYTES, this.#sizeBytes - at)
        if (wanted === 0) {
          if ((await this.#file.stat()).size !== this.#sizeBytes) throw this.#changed()
          return undefined
        }
        const buffer = Buffer.allocUnsafeSlow(wanted)
        const { bytesRead } = await this.#file.read(buffer, 0, wanted, at)
        if (bytesRead === 0) throw this.#changed()
        const part = buffer.subarray(0, bytesRead)
        if (this.#crcBytes === at) {
          this.#crc = crc32(part, this.#crc)
          this.#crcBytes += bytesRead
        }
        at += bytesRead
        return part
      }
    }
  }

  #changed(): RejectedError {
    return new RejectedError('SIZE_MISMATCH', `${this.#path} changed its size while it was being read`)
  }
}

function isKey(upload: FileKey, key: FileKey): boolean {
  return upload.application === key.application && upload.user === key.user && upload.file === key.file
}

/** Worth another try of the same upload: a server that died, one that is overtaken by a commit of unknown outcome. */
function isPassing(error: unknown): boolean {
  return worthElsewhere(error) || isCode(error, 'OUTCOME_UNKNOWN') || isCode(error, 'UPLOAD_OFFSET')
}
