/**
 * Taking over a file of another group: fetched from a member of it, stored as an upload is, under the generation that it
 * has; then its row is switched to here. Until then readers get it from there, from then on from here. A file in the trash
 * stays in it.
 */
import type { FileIndex, FileRow, Moves } from '@tributary/database'
import {
  COMMANDS,
  encodeFrame,
  extension,
  formatFileKey,
  ProtocolError,
  RejectedError,
  TributaryError,
  UnavailableError,
  type AdoptRequest,
  type Address
} from '@tributary/protocol'
import type { PieceTaker } from '@tributary/transport'
import { databaseError } from './index-entry.ts'
import { LargeUpload } from './large-upload.ts'
import type { Neighbours } from './neighbours.ts'
import type { Store } from './store.ts'

/** At a time in one worker; each may hold four pieces of 1 MiB in memory. */
export const ADOPTIONS_MAX = 16
const REPLY_TIMEOUT_MS = 10_000
const SILENCE_MS = 10_000
/** Fields in front of the content. */
const FIELDS_BYTES_MAX = 64 * 1024

export interface AdoptionParts {
  index: FileIndex
  moves: Moves
  stores: ReadonlyMap<string, Store>
  neighbours: Neighbours
  /** Where a new file of this size goes. @throws {UnavailableError} NO_SPACE, STORE_UNAVAILABLE */
  choose: (sizeBytes: number) => { store: Store }
}

export class Adoption {
  readonly #parts: AdoptionParts
  readonly #stopping = new AbortController()
  #running = 0

  constructor(parts: AdoptionParts) {
    this.#parts = parts
  }

  /**
   * Resolves with the row once it says that the file is here. What was begun and fails leaves nothing behind.
   *
   * @param signal Ends it.
   * @throws {TributaryError} FILE_NOT_FOUND, GENERATION_MISMATCH: deleted or replaced meanwhile. CHECKSUM_MISMATCH: the
   *         other group's copy is damaged. WRONG_GROUP: somebody else moved it. NO_SPACE, OVERLOADED, …
   */
  async adopt(request: AdoptRequest, signal: AbortSignal): Promise<FileRow> {
    const { index, stores, neighbours, moves, choose } = this.#parts
    if (this.#running >= ADOPTIONS_MAX) {
      throw new UnavailableError('OVERLOADED', `${ADOPTIONS_MAX} files are being taken over already`)
    }
    this.#running++
    const ended = AbortSignal.any([signal, this.#stopping.signal])
    try {
      const row = await this.#find(request)
      if (stores.has(row.store)) return row
      const { store } = choose(row.sizeBytes)
      const { addresses } = await neighbours.locate(row, ended)
      const labels = { nonce: row.nonce, name: row.name, mediaType: row.mediaType }
      const { application, user, file } = row
      const key = { application, user, file }
      const upload = await LargeUpload.begin(store, index, key, row.sizeBytes, labels, { row, moves })
      try {
        await this.#fetch(upload, row, addresses, request.bytesPerS, ended)
        return await upload.finish()
      } finally {
        await upload.abort()
      }
    } catch (error) {
      if (this.#stopping.signal.aborted) {
        throw new UnavailableError('SHUTTING_DOWN', 'the storage server is shutting down', { cause: error })
      }
      throw error
    } finally {
      this.#running--
    }
  }

  /** What is under way ends without a trace; it can be asked of another member. */
  stop(): void {
    this.#stopping.abort()
  }

  async #find({ application, user, file, generation }: AdoptRequest): Promise<FileRow> {
    const key = { application, user, file }
    let row: FileRow | undefined
    try {
      row = await this.#parts.index.find(key, { causal: true })
    } catch (error) {
      throw databaseError(error)
    }
    if (!row || row.state === 'deleting') {
      throw new RejectedError('FILE_NOT_FOUND', `no such file: ${formatFileKey(key)}`)
    }
    if (row.generation !== generation) {
      throw new RejectedError('GENERATION_MISMATCH', `${formatFileKey(key)} was replaced meanwhile`)
    }
    return row
  }

  /** From one member after the other, each from the byte that was reached. */
  async #fetch(
    upload: LargeUpload,
    row: FileRow,
    addresses: readonly Address[],
    bytesPerS: number | undefined,
    signal: AbortSignal
  ): Promise<void> {
    const pace = new Pace(bytesPerS, signal)
    let failure: unknown = new UnavailableError(
      'NO_STORAGE_READY',
      `no active storage server in group ${row.group}`
    )
    for (const address of addresses) {
      try {
        await this.#fetchFrom(address, upload, row, pace, signal)
        return
      } catch (error) {
        if (!(error instanceof TributaryError) || error.policy.retry !== 'elsewhere' || signal.aborted)
          throw error
        failure = error
      }
    }
    throw failure
  }

  async #fetchFrom(
    address: Address,
    upload: LargeUpload,
    { application, user, file, generation, sizeBytes }: FileRow,
    pace: Pace,
    signal: AbortSignal
  ): Promise<void> {
    const lease = await this.#parts.neighbours.lease(address, signal)
    const { connection } = lease
    const start = upload.sizeBytes
    const request = { application, user, file, generation, trashed: true, ...(start > 0 && { start }) }
    const frame = encodeFrame(COMMANDS.FETCH.code, extension.fetch.encode(request))
    const leftBytes = sizeBytes - start
    let writing: Promise<unknown> = Promise.resolve()
    const content: PieceTaker = (piece, release) => {
      // The piece's memory is used again as soon as it is released, and an upload keeps what it is given.
      const copy = Buffer.allocUnsafeSlow(piece.byteLength)
      piece.copy(copy)
      writing = writing
        .then(() => upload.write(copy))
        .then(() => pace.after(copy.byteLength))
        .then(release)
      writing.catch((error: unknown) => connection.destroy(error as Error))
    }
    try {
      await connection.callStreamed(
        frame,
        { timeoutMs: REPLY_TIMEOUT_MS, silenceMs: SILENCE_MS, signal },
        bodyBytes => behindFields(bodyBytes, leftBytes, content)
      )
      await writing
    } catch (error) {
      connection.destroy()
      await writing.catch(() => {}) // nothing is written behind the back of whoever goes on
      throw error
    } finally {
      lease.release()
    }
  }
}

/** Passes over the fields in front of a FETCH's content, and checks that the content is as long as it should be. */
function behindFields(bodyBytes: number, contentBytes: number, content: PieceTaker): PieceTaker {
  let head: Buffer = Buffer.alloc(0)
  let isOpen = false
  return (piece, release) => {
    if (isOpen) return content(piece, release)
    head = Buffer.concat([head, piece])
    release()
    if (head.byteLength < 4) return
    const fieldsBytes = head.readUInt32BE(0)
    if (fieldsBytes > FIELDS_BYTES_MAX || 4 + fieldsBytes + contentBytes !== bodyBytes) {
      throw new ProtocolError(
        'BAD_REPLY',
        `a reply of ${bodyBytes} bytes does not hold ${contentBytes} of content`
      )
    }
    if (head.byteLength < 4 + fieldsBytes) return
    isOpen = true
    const rest = head.subarray(4 + fieldsBytes)
    if (rest.byteLength > 0) content(rest, () => {})
  }
}

/** Holds back what comes faster than it may. */
class Pace {
  readonly #bytesPerS: number | undefined
  readonly #signal: AbortSignal
  readonly #startMs = performance.now()
  #bytes = 0

  constructor(bytesPerS: number | undefined, signal: AbortSignal) {
    this.#bytesPerS = bytesPerS
    this.#signal = signal
  }

  /** Resolves when so many further bytes are allowed to have come. */
  async after(bytes: number): Promise<void> {
    this.#bytes += bytes
    if (!this.#bytesPerS) return
    const waitMs = (1_000 * this.#bytes) / this.#bytesPerS - (performance.now() - this.#startMs)
    if (waitMs <= 0) return
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(timer)
        this.#signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, waitMs)
      this.#signal.addEventListener('abort', done)
    })
  }
}
