/**
 * Turns an upload that is whole into a stored file. Where its bytes lie in one file, at their places, and nobody can have
 * that file open any more, it gets its name as it is; else what is missing is copied to a file of which that is true.
 */
import { open, stat, truncate, unlink, type FileHandle } from 'node:fs/promises'
import type { FileIndex, FileRow, UploadRow, Uploads } from '@tributary/database'
import { OutcomeUnknownError, UnavailableError } from '@tributary/protocol'
import { databaseError, enterRows } from './index-entry.ts'
import { encodeRecord } from './journal-record.ts'
import { CONTENT_FILE, openPart, partPath, untilSeen } from './part-files.ts'
import { removeUnused } from './part-folder.ts'
import type { Store } from './store.ts'
import { factsOf, rowOf } from './upload-record.ts'

const COPY_BYTES = 1024 * 1024

export interface CommitParts {
  uploads: Uploads
  index: FileIndex
  stores: ReadonlyMap<string, Store>
  store: Store
  row: UploadRow
  /** What it is joined of; empty: it is one by itself. */
  parts: readonly UploadRow[]
}

/** Bytes of the whole, and where they lie. */
interface Extent {
  store: Store
  folder: string
  file: string
  /** In the file. */
  from: number
  /** In the whole. */
  at: number
  bytes: number
  /** Somebody may still write to the file, beyond these bytes. */
  isLoose: boolean
}

export class PartCommit {
  readonly #parts: CommitParts

  constructor(parts: CommitParts) {
    this.#parts = parts
  }

  /**
   * @param wholeMs When it was asked for; see Store.staleness.
   * @returns The stored file's row, or that of the same upload when it had been stored before.
   */
  async store(wholeMs: number): Promise<FileRow> {
    const { row, store, index } = this.#parts
    const source = await this.#gather()
    const path = partPath(source.folder, source.file)
    await this.#check(source, path)
    const labels = { nonce: row.id, name: row.name, mediaType: row.mediaType }
    const key = { application: row.application, user: row.user, file: row.file }
    const place = { group: store.marker.group, store: store.uuid, path: '' }
    const content = { sizeBytes: row.sizeBytes, crc32: row.crc32 }
    const fileRow = rowOf({ key, ...labels, ...content, ...place, storedAtMs: Date.now() })
    let named = false
    try {
      await store.name(store.absolute(path), fileRow.storedAtMs, async to => {
        fileRow.path = to
        named = true
        await store.journal.append([encodeRecord('intent', factsOf(fileRow, fileRow.storedAtMs))])
        if (store.durable) await store.journal.sync()
      })
      // Who came to the folder since it was looked at may have the file open. Who comes from now on sees its second name.
      if (this.#parts.parts.some(({ folder }) => folder === source.folder) && (await this.#isCrowded(source)))
        throw new UnavailableError('STORE_UNAVAILABLE', 'another part came to the same place: ask again')
      const [outcome] = await enterRows(index, [fileRow], store.durable, store.staleness(wholeMs))
      if (outcome!.kind === 'repeated') return outcome!.row
      if (outcome!.kind === 'refused') throw outcome!.error
      named = false
      if (outcome!.kind === 'unknown') {
        store.unsettled.note(fileRow)
        throw outcome!.error
      }
      await this.#recordStored(fileRow)
      return fileRow
    } finally {
      if (named) await this.#withdraw(fileRow, path)
    }
  }

  /** Removes what is left of an upload that is stored. */
  async clear(): Promise<void> {
    const { row, parts, uploads, stores } = this.#parts
    const places = new Map<string, Store | undefined>()
    for (const { store, folder } of [row, ...parts]) places.set(folder, stores.get(store))
    // First the name: who gets the place of a part next is not to write into what is stored.
    for (const [folder, store] of places) if (store) await unlinkStored(store, partPath(folder, CONTENT_FILE))
    for (const part of parts) await uploads.remove(part)
    for (const [folder, store] of places) {
      // The row itself stays for a while; other parts may lie beside those that were joined.
      const isUsed = async (): Promise<boolean> =>
        (await uploads.inFolder(folder)).some(({ state }) => state !== 'stored')
      if (store) await removeUnused(store, folder, isUsed)
    }
  }

  async #gather(): Promise<{ folder: string; file: string }> {
    const { row, store } = this.#parts
    const extents = await this.#extents()
    const target = this.#bestOf(extents) ?? { store, folder: row.folder, file: `joined-${row.fence}` }
    const isThere = (extent: Extent): boolean =>
      extent.store === target.store && extent.folder === target.folder && extent.file === target.file
    const missing = extents.filter(extent => !isThere(extent))
    if (missing.length > 0 || extents.length === 0) {
      const handle = await openPart(store, target.folder, target.file)
      try {
        for (const extent of missing) await copy(extent, store, handle)
        if (store.durable) await store.volume.run('sync', () => handle.datasync())
      } finally {
        await handle.close()
      }
    }
    return target
  }

  async #extents(): Promise<Extent[]> {
    const { row, parts, stores } = this.#parts
    const extents: Extent[] = []
    let at = 0
    for (const part of parts.length > 0 ? parts : [row]) {
      const { pieces } = part.layout
      const store = stores.get(part.store)
      if (!store) throw new UnavailableError('STORE_UNAVAILABLE', `store ${part.store} is out of use`)
      const isCrowded = part.totalBytes > 0 && (await this.#isCrowded(part))
      for (const [index, { file, start }] of pieces.entries()) {
        const end = pieces[index + 1]?.start ?? part.sizeBytes
        const isLast = index === pieces.length - 1
        if (end === start) continue
        extents.push({
          store,
          folder: part.folder,
          file,
          from: part.baseBytes + start,
          at: at + start,
          bytes: end - start,
          isLoose: !isLast || isCrowded
        })
      }
      at += part.sizeBytes
    }
    return extents
  }

  /** Others than those that are joined write to the folder's file, or one of them was overtaken unheard. */
  async #isCrowded({ folder }: Pick<UploadRow, 'folder'>): Promise<boolean> {
    const joined = new Set(this.#parts.parts.map(({ id }) => id))
    let beside: UploadRow[]
    try {
      beside = await this.#parts.uploads.inFolder(folder)
    } catch (error) {
      throw databaseError(error)
    }
    return beside.some(({ id, layout }) => !joined.has(id) || layout.pieces.length > 1)
  }

  /** The file that can become the whole, with the least to be copied. */
  #bestOf(extents: readonly Extent[]): Extent | undefined {
    const { store } = this.#parts
    let best: Extent | undefined
    let bestBytes = 0
    for (const one of extents) {
      const same = extents.filter(({ folder, file }) => folder === one.folder && file === one.file)
      const fits = same.every(
        ({ isLoose, from, at, store: where }) => !isLoose && from === at && where === store
      )
      const bytes = same.reduce((sum, extent) => sum + extent.bytes, 0)
      if (!fits || bytes <= bestBytes) continue
      best = one
      bestBytes = bytes
    }
    return best
  }

  async #check({ folder }: { folder: string }, path: string): Promise<void> {
    const { store, row } = this.#parts
    const size = await untilSeen(
      store,
      async () => (await store.volume.run('stat', () => stat(store.absolute(path)))).size,
      now => now >= row.sizeBytes
    )
    if (size === row.sizeBytes) return
    // Others were about to be joined to it, and were not.
    if (size > row.sizeBytes)
      return store.volume.run('truncate', () => truncate(store.absolute(path), row.sizeBytes))
    throw new UnavailableError(
      'STORE_UNAVAILABLE',
      `upload ${row.id} has ${size} bytes on disk (${folder}) where ${row.sizeBytes} were acknowledged`
    )
  }

  async #recordStored(fileRow: FileRow): Promise<void> {
    const { journal, durable } = this.#parts.store
    try {
      await journal.append([encodeRecord('stored', factsOf(fileRow, Date.now()))])
      if (durable) await journal.sync()
    } catch (cause) {
      throw new OutcomeUnknownError('the file is stored, but the disk did not confirm it', { cause })
    }
  }

  /** The name did not make it into the index: it goes; the upload stays as it was. */
  async #withdraw(fileRow: FileRow, path: string): Promise<void> {
    const { store } = this.#parts
    const source = store.absolute(path)
    // Only what is this upload's own file: its place may have been another's, which is why it was not stored.
    const remove = async (): Promise<void> => {
      const named = store.absolute(fileRow.path)
      const [own, other] = [await stat(source, { bigint: true }), await stat(named, { bigint: true })]
      if (own.ino === other.ino && own.dev === other.dev) await unlink(named)
    }
    if (store.volume.local) await remove().catch(() => {})
    else store.volume.chore(remove)
    try {
      await store.journal.append([encodeRecord('withdrawn', factsOf(fileRow, Date.now()))])
    } catch {
      // The next start finds the intent, and no row.
    }
  }
}

/** The name of an upload's file that has another one, as a stored file. */
async function unlinkStored(store: Store, path: string): Promise<void> {
  await store.volume.run('unlink', async () => {
    try {
      if ((await stat(store.absolute(path))).nlink > 1) await unlink(store.absolute(path))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  })
}

async function copy(extent: Extent, store: Store, target: FileHandle): Promise<void> {
  const path = extent.store.absolute(partPath(extent.folder, extent.file))
  const source = await extent.store.volume.run('part', () => open(path, 'r'))
  try {
    const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, extent.bytes))
    for (let done = 0; done < extent.bytes;) {
      const wanted = Math.min(buffer.byteLength, extent.bytes - done)
      const { bytesRead } = await untilSeen(
        extent.store,
        () => extent.store.volume.run('read', () => source.read(buffer, 0, wanted, extent.from + done)),
        read => read.bytesRead > 0
      )
      if (bytesRead === 0) throw new UnavailableError('STORE_UNAVAILABLE', `${path} is shorter than it was`)
      let written = 0
      while (written < bytesRead) {
        const { bytesWritten } = await store.volume.run('write', () =>
          target.write(buffer, written, bytesRead - written, extent.at + done + written)
        )
        written += bytesWritten
      }
      done += bytesRead
    }
  } finally {
    await source.close()
  }
}
