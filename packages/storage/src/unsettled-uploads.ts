/**
 * Uploads of which the index did not say whether it took them: the answer to their commit was lost. Their files stay, as a row may
 * come for them. When the index has answered for so long that nothing of them can be under way in it any more, and has no row of
 * theirs, the file goes where the sweep puts those that no row knows, a day earlier.
 */
import type { FileIndex, FileRow } from '@tributary/database'
import { encodeRecord } from './journal-record.ts'
import type { Journal } from './journal.ts'
import { moveToLost } from './lost-files.ts'
import { factsOf } from './upload-record.ts'
import type { Volume } from './volume.ts'

/** A commit that a node still has in hand ends, or its connection does, within seconds of the node's answering again. */
export const APART_MS = 30_000
/** What is beyond is left to the sweep. */
const UPLOADS_MAX = 1_000

/** What it needs of a store. */
interface Place {
  readonly root: string
  readonly volume: Volume
  readonly journal: Journal
  /** @throws {UnavailableError} while there is trouble. */
  check(): void
}

interface Upload {
  readonly row: FileRow
  /** Since when the index has been answering that it has no row of it. */
  absentSinceMs: number | undefined
}

export class UnsettledUploads {
  #uploads: Upload[] = []

  get count(): number {
    return this.#uploads.length
  }

  note(row: FileRow): void {
    if (this.#uploads.length < UPLOADS_MAX) this.#uploads.push({ row, absentSinceMs: undefined })
  }

  /** To be called every few seconds. @returns how many files were moved. @throws the volume's error: the rest is for the next time */
  async settle(store: Place, files: FileIndex, nowMs = performance.now()): Promise<number> {
    let moved = 0
    for (const upload of this.#uploads.slice()) {
      const { row } = upload
      let found: FileRow | undefined
      try {
        found = await files.find(row, { causal: true })
      } catch {
        upload.absentSinceMs = undefined // what it had in hand it may have still
        continue
      }
      if (found?.generation === row.generation) {
        await store.journal.append([encodeRecord('stored', factsOf(row, Date.now()))])
        this.#forget(upload)
        continue
      }
      upload.absentSinceMs ??= nowMs
      if (nowMs - upload.absentSinceMs < APART_MS) continue
      store.check()
      if (await this.#move(store, row)) moved++
      await store.journal.append([encodeRecord('withdrawn', factsOf(row, Date.now()))])
      this.#forget(upload)
    }
    return moved
  }

  async #move(store: Place, { path }: FileRow): Promise<boolean> {
    try {
      await store.volume.run('lost file', () => moveToLost(store.root, path, Date.now()))
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false // somebody else has seen to it
      throw error
    }
  }

  #forget(upload: Upload): void {
    this.#uploads = this.#uploads.filter(one => one !== upload)
  }
}
