/**
 * One writer at one upload, from its token to the end of what it was sent. What came is on disk before the index says
 * so, and the index says so for the newest token only: a writer that was overtaken is never believed, and it does not go on.
 */
import { createHash, type Hash } from 'node:crypto'
import { fdatasync as fdatasyncCallback } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import type { UploadRow, Uploads } from '@tributary/database'
import { RejectedError, type AppendChecksum } from '@tributary/protocol'
import { FileWrites } from './file-writes.ts'
import { databaseError } from './index-entry.ts'
import type { Store } from './store.ts'
import { storeError } from './volume.ts'

const fdatasync = promisify(fdatasyncCallback)

/** Content is gathered to pieces of this size; two of them may wait for the disk, then the sender is held back. */
const GATHER_BYTES = 1024 * 1024
const BEHIND_BYTES_MAX = 2 * GATHER_BYTES
/** So much, or what came in so long, is acknowledged at a time: a crash costs the sender no more … */
const ACKNOWLEDGE_BYTES = 128 * 1024 * 1024
const ACKNOWLEDGE_MS = 1_000
/** … or this, where the disk is slower than the sender. */
const UNACKNOWLEDGED_BYTES_MAX = 256 * 1024 * 1024
/** A writer whose sender is silent looks so often whether it was overtaken. */
const LOOK_MS = 500

export interface AppendOptions {
  /** The content counts as a whole, if this is its checksum. */
  checksum: AppendChecksum | undefined
  /** UNIX milliseconds at which the upload is forgotten, counted from now. */
  expiresMs: () => number
  /** The file is closed, and nothing is on its way to it. */
  onClosed: () => void
}

export class PartAppend {
  readonly #uploads: Uploads
  readonly #store: Store
  readonly #row: UploadRow
  readonly #handle: FileHandle
  readonly #options: AppendOptions
  readonly #writes: FileWrites
  readonly #hash: Hash | undefined
  readonly #look: NodeJS.Timeout
  /** Of the upload, not of this append alone. */
  #receivedBytes: number
  #crc: number
  /** Of this append alone, where it has a checksum. */
  #appendCrc = 0
  #acknowledging: Promise<void> | undefined
  #acknowledged: Pick<UploadRow, 'offsetBytes' | 'crc32' | 'expiresMs'>
  #askedBytes: number
  #askedMs = performance.now()
  #released = false
  #closed: Promise<void> | undefined

  /** @param handle Its file, open for writing; closed here. */
  constructor(uploads: Uploads, store: Store, row: UploadRow, handle: FileHandle, options: AppendOptions) {
    this.#uploads = uploads
    this.#store = store
    this.#row = row
    this.#handle = handle
    this.#options = options
    this.#receivedBytes = row.offsetBytes
    this.#writes = new FileWrites(store.volume, handle.fd, row.baseBytes + row.offsetBytes)
    this.#acknowledged = { offsetBytes: row.offsetBytes, crc32: row.crc32, expiresMs: row.expiresMs }
    this.#askedBytes = row.offsetBytes
    this.#crc = row.crc32
    const algorithm = options.checksum?.algorithm
    if (algorithm !== undefined && algorithm !== 'crc32') this.#hash = createHash(algorithm)
    this.#look = setInterval(() => void this.#lookAround(), LOOK_MS)
    this.#look.unref()
  }

  get holder(): string {
    return this.#row.holder
  }

  /** The index says already that the file is let go of. */
  get isReleased(): boolean {
    return this.#released
  }

  get row(): UploadRow {
    const holder = this.#released ? '' : this.#row.holder
    return { ...this.#row, holder, ...this.#acknowledged }
  }

  /** Takes content, which is its own from now on; a promise asks to wait before the next. */
  write(chunk: Buffer): void | Promise<void> {
    this.#check()
    this.#crc = crc32(chunk, this.#crc)
    if (this.#options.checksum) {
      this.#hash?.update(chunk)
      this.#appendCrc = crc32(chunk, this.#appendCrc)
    }
    this.#receivedBytes += chunk.byteLength
    this.#writes.gather(chunk)
    if (this.#writes.gatheredBytes >= GATHER_BYTES) this.#writes.flush()
    if (!this.#options.checksum && this.#isDue()) this.#acknowledge()
    if (
      this.#receivedBytes - this.#acknowledged.offsetBytes > UNACKNOWLEDGED_BYTES_MAX &&
      this.#acknowledging
    )
      return this.#acknowledging.then(() => this.#check())
    if (this.#writes.behindBytes < BEHIND_BYTES_MAX) return undefined
    return this.#writes.written.then(() => this.#check())
  }

  /**
   * Acknowledges all that came, and closes the file.
   *
   * @returns The upload as it is now.
   * @throws {RejectedError} UPLOAD_TAKEN; UPLOAD_CHECKSUM: nothing of it counts.
   */
  async finish(): Promise<UploadRow> {
    try {
      this.#check()
      this.#compare()
      this.#writes.flush()
      await this.#acknowledging
      await this.#writes.written
      this.#check()
      if (this.#receivedBytes > this.#acknowledged.offsetBytes) await this.#acknowledgeAll()
      const closed = this.close()
      if (this.#store.volume.local) await closed
      return this.row
    } catch (error) {
      // On a volume that hangs the end is not waited for; until it comes, the file is not let go of.
      const closed = this.close()
      if (this.#store.volume.local) await closed
      throw storeError(error, 'the upload')
    }
  }

  /** Ends it: somebody else writes from now on. Resolves when nothing of it can reach the file any more. */
  overtake(): Promise<void> {
    this.#writes.fail(overtaken())
    return this.close()
  }

  /** Lets go of the file when nothing is on its way to it; idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    clearInterval(this.#look)
    this.#writes.drop(new RejectedError('SIZE_MISMATCH', 'the append has ended'))
    await this.#writes.written
    await this.#acknowledging?.catch(() => {})
    // What hangs may still be carried out: until then the file is not let go of.
    await this.#writes.ended()
    await this.#handle.close().catch(() => {})
    this.#options.onClosed()
  }

  #check(): void {
    if (this.#writes.failure !== undefined) throw storeError(this.#writes.failure, 'the upload')
  }

  #compare(): void {
    const { checksum } = this.#options
    if (!checksum) return
    let found = this.#hash?.digest()
    if (!found) {
      found = Buffer.alloc(4)
      found.writeUInt32BE(this.#appendCrc)
    }
    if (!found.equals(checksum.digest))
      throw new RejectedError(
        'UPLOAD_CHECKSUM',
        `the ${checksum.algorithm} of what came is not the one it was sent with`
      )
  }

  #isDue(): boolean {
    if (this.#acknowledging || this.#receivedBytes === this.#askedBytes) return false
    return (
      this.#receivedBytes - this.#askedBytes >= ACKNOWLEDGE_BYTES ||
      performance.now() - this.#askedMs >= ACKNOWLEDGE_MS
    )
  }

  /** While more comes. */
  #acknowledge(): void {
    this.#writes.flush()
    this.#askedBytes = this.#receivedBytes
    this.#askedMs = performance.now()
    const reached = { offsetBytes: this.#receivedBytes, crc32: this.#crc }
    const acknowledging = this.#writes.written
      .then(async () => {
        if (this.#writes.failure !== undefined) return
        await this.#sync()
        await this.#advance(reached, false)
      })
      .catch((error: unknown) => {
        this.#writes.fail(error)
      })
      .finally(() => {
        this.#acknowledging = undefined
      })
    this.#acknowledging = acknowledging
  }

  /** Nothing is on its way to the file any more: that it is let go of is said in the same breath. */
  async #acknowledgeAll(): Promise<void> {
    await this.#sync()
    await this.#advance({ offsetBytes: this.#receivedBytes, crc32: this.#crc }, true)
    this.#released = true
  }

  async #sync(): Promise<void> {
    if (!this.#store.durable) return
    await this.#store.volume.run('sync', () => this.#writes.note(fdatasync(this.#handle.fd)))
  }

  async #advance(reached: { offsetBytes: number; crc32: number }, releases: boolean): Promise<void> {
    const acknowledged = { ...reached, expiresMs: this.#options.expiresMs() }
    let isMine: boolean
    try {
      isMine = await this.#uploads.advance(this.#row, acknowledged, releases)
    } catch (error) {
      throw databaseError(error)
    }
    if (!isMine) throw overtaken()
    this.#acknowledged = acknowledged
  }

  async #lookAround(): Promise<void> {
    if (this.#acknowledging || performance.now() - this.#askedMs < LOOK_MS) return
    let now: UploadRow | undefined
    try {
      now = await this.#uploads.find(this.#row.id)
    } catch {
      return // the next acknowledgement finds out
    }
    if (now?.fence === this.#row.fence) return
    this.#writes.fail(overtaken())
    await this.close()
  }
}

export function overtaken(): RejectedError {
  return new RejectedError('UPLOAD_TAKEN', 'somebody else goes on with this upload')
}
