/** One store path in use by one data worker: its identity, its volume, and what is written beside the files. */
import type { BigIntStats } from 'node:fs'
import { link, open, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { UnavailableError } from '@tributary/protocol'
import type { IdSource } from './id-source.ts'
import type { Journal } from './journal.ts'
import type { RedoLog } from './redo-log.ts'
import { isDegraded, SharedStore, type Replication } from './replication.ts'
import { makeStoreDirectory, makeStoreDirectorySync } from './store-directory.ts'
import { MARKER_NAME, type StoreMarker } from './store-marker.ts'
import { storePathOf, type StorePath } from './store-path.ts'
import type { Standstill } from './standstill.ts'
import { UnsettledUploads } from './unsettled-uploads.ts'
import type { Space, Volume } from './volume.ts'

/** Uploads that bring many new directories do not make this grow for ever. */
const KNOWN_DIRECTORIES_MAX = 100_000
/** Temporary files that could not be removed yet, because the volume was away. */
const OWED_REMOVALS_MAX = 10_000
/** Ids that may be found taken in a row before an upload gives up. */
const NAME_TRIES_MAX = 1_000

export interface StoreParts {
  marker: StoreMarker
  volume: Volume
  /** Name of this writer: member and worker. */
  member: string
  journal: Journal
  redo: RedoLog | undefined
  ids: IdSource
  /** Folder for temporary files of this boot. */
  temporary: string
  reserveBytes: number
  durable: boolean
  /** Default: a store that is one copy. */
  replication?: Replication
  /** While fewer copies than is safe can be reached. Default: yes. */
  refusesDegraded?: boolean
  /** Of this process. Default: none is noticed. */
  standstill?: Pick<Standstill, 'refusal'>
}

export class Store {
  readonly marker: StoreMarker
  readonly volume: Volume
  readonly member: string
  readonly journal: Journal
  readonly redo: RedoLog | undefined
  readonly ids: IdSource
  readonly temporary: string
  readonly durable: boolean
  readonly replication: Replication
  readonly #refusesDegraded: boolean
  readonly #standstill: Pick<Standstill, 'refusal'> | undefined
  /** Why nothing may be read or written here right now; undefined = all is well. */
  trouble: string | undefined
  /** On their way; they share the memory for what they gather. */
  largeUploads = 0
  readonly unsettled = new UnsettledUploads()
  #space: Space = { freeBytes: 0, totalBytes: 0 }
  #promisedBytes = 0
  readonly #reserveBytes: number
  readonly #directories = new Set<string>()
  readonly #owedRemovals: (() => Promise<void>)[] = []

  constructor(parts: StoreParts) {
    this.marker = parts.marker
    this.volume = parts.volume
    this.member = parts.member
    this.journal = parts.journal
    this.redo = parts.redo
    this.ids = parts.ids
    this.temporary = parts.temporary
    this.durable = parts.durable
    this.replication = parts.replication ?? new SharedStore()
    this.#refusesDegraded = parts.refusesDegraded ?? true
    this.#standstill = parts.standstill
    this.#reserveBytes = parts.reserveBytes
  }

  get uuid(): string {
    return this.marker.store
  }

  get root(): string {
    return this.volume.root
  }

  /** Bytes that new files may take, the reserve and what running uploads were promised taken off. */
  get freeBytes(): number {
    return Math.max(0, this.#space.freeBytes - this.#reserveBytes - this.#promisedBytes)
  }

  get totalBytes(): number {
    return this.#space.totalBytes
  }

  /** Free space; that it could be had is the moment for what the volume did not let us remove before. */
  async measure(): Promise<void> {
    const space = await this.volume.space()
    // A mirror whose copies are just being connected has no size: it is not full, it does not know.
    if (space.totalBytes > 0) this.#space = space
    for (const remove of this.#owedRemovals.splice(0)) this.volume.chore(remove)
  }

  /**
   * Promises room for an upload; call the result when it has ended.
   *
   * @throws {UnavailableError} NO_SPACE; STORE_UNAVAILABLE: it has not said yet how much there is.
   */
  promise(bytes: number): () => void {
    if (this.#space.totalBytes === 0)
      throw new UnavailableError('STORE_UNAVAILABLE', `${this.root} does not say how large it is`)
    if (bytes > this.freeBytes) {
      throw new UnavailableError(
        'NO_SPACE',
        `${bytes} bytes do not fit: ${this.freeBytes} are free above the reserve`
      )
    }
    this.#promisedBytes += bytes
    let kept = true
    return () => {
      if (kept) this.#promisedBytes -= bytes
      kept = false
    }
  }

  /** @throws {UnavailableError} STORE_UNAVAILABLE while there is trouble. */
  check(): void {
    if (this.trouble !== undefined) throw new UnavailableError('STORE_UNAVAILABLE', this.trouble)
  }

  get isDegraded(): boolean {
    return isDegraded(this.replication.copiesNow())
  }

  /** Why nothing may be written here right now, though it can be read; undefined = it may. */
  get refusal(): string | undefined {
    if (!this.#refusesDegraded || !this.isDegraded) return undefined
    return `${this.root} takes no uploads and deletes now: ${this.replication.trouble()}`
  }

  /** @throws {UnavailableError} STORE_UNAVAILABLE, DEGRADED */
  checkWrite(): void {
    this.check()
    const { refusal } = this
    if (refusal !== undefined) throw new UnavailableError('DEGRADED', refusal)
  }

  /** Why nothing is stored any more for a request that was whole at `sinceMs`; undefined: it is. */
  staleness(sinceMs: number): UnavailableError | undefined {
    return this.#standstill?.refusal(sinceMs)
  }

  absolute(path: string): string {
    return join(this.root, path)
  }

  placeOf(id: number, atMs: number): StorePath {
    return storePathOf(id, Math.floor(atMs / 1_000))
  }

  /** Makes the directory of a place, on a local volume. */
  makeDirectorySync(directory: string): void {
    if (this.#directories.has(directory)) return
    makeStoreDirectorySync(this.root, directory)
    this.#know(directory)
  }

  /**
   * Gives a finished temporary file its name, which never overwrites one, and makes the name durable.
   *
   * @param announce Told of each name before it is tried, so that a crash leaves none that nobody knows of.
   * @returns The place it got.
   */
  async name(
    temporary: string,
    atMs: number,
    announce: (path: string) => void | Promise<void>
  ): Promise<StorePath> {
    for (let tried = 0; tried < NAME_TRIES_MAX; tried++) {
      const place = this.placeOf(await this.ids.next(), atMs)
      const isNew = await this.#makeDirectory(place.directory)
      await announce(place.path)
      try {
        await this.volume.run('link', () => link(temporary, this.absolute(place.path)))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
        throw error
      }
      if (this.durable) await this.#syncDirectories(place.directory, isNew)
      return place
    }
    throw new UnavailableError('STORE_UNAVAILABLE', `${NAME_TRIES_MAX} names in a row are taken`)
  }

  /**
   * Removes a file; one that is not there is no error.
   *
   * @throws ENOENT: the store itself is not there.
   */
  async removeFile(path: string): Promise<void> {
    await this.volume.run('unlink', () => this.#unlink(path))
  }

  async #unlink(path: string): Promise<void> {
    try {
      await unlink(this.absolute(path))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await stat(this.absolute(MARKER_NAME)) // nothing is there where the volume is not mounted
    }
  }

  /**
   * Removes a temporary file, now or when the volume answers again.
   *
   * @param named The place it was about to get, should it be without a row: it goes too, if it is this file.
   */
  async discard(temporary: string, named?: string): Promise<void> {
    let own: BigIntStats | undefined
    let isGone = false
    const remove = async (): Promise<void> => {
      try {
        // Its own name goes first: a link that was given up and is still under way cannot come after that.
        if (!isGone) {
          if (named !== undefined) own ??= await stat(temporary, { bigint: true })
          await unlink(temporary)
          isGone = true
        }
        if (named === undefined || own === undefined) return
        const other = await stat(this.absolute(named), { bigint: true })
        if (other.ino === own.ino && other.dev === own.dev) await unlink(this.absolute(named))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT' && (await this.#isMounted())) return
        // What is beyond the bound goes at the next start.
        if (this.#owedRemovals.length < OWED_REMOVALS_MAX) this.#owedRemovals.push(remove)
      }
    }
    if (this.volume.local) await remove()
    else this.volume.chore(remove)
  }

  /** Nothing is there where the volume is not mounted: that a file is missing says something only beside the marker. */
  #isMounted(): Promise<boolean> {
    return stat(this.absolute(MARKER_NAME)).then(
      () => true,
      () => false
    )
  }

  /** Makes the absence of a removed file durable. */
  async syncDirectoryOf(path: string): Promise<void> {
    if (this.durable) await this.#syncDirectory(this.absolute(dirname(path)))
  }

  /** @returns Whether this process uses it for the first time. */
  async #makeDirectory(directory: string): Promise<boolean> {
    if (this.#directories.has(directory)) return false
    await this.volume.run('mkdir', () => makeStoreDirectory(this.root, directory))
    this.#know(directory)
    return true
  }

  #know(directory: string): void {
    if (this.#directories.size >= KNOWN_DIRECTORIES_MAX) this.#directories.clear()
    this.#directories.add(directory)
  }

  /** The directory itself and, at its first use, those above it: another member may have made them a moment ago. */
  async #syncDirectories(directory: string, isNew: boolean): Promise<void> {
    let path = this.absolute(directory)
    await this.#syncDirectory(path)
    if (!isNew) return
    while (path.length > this.root.length) {
      path = dirname(path)
      await this.#syncDirectory(path)
    }
  }

  async #syncDirectory(path: string): Promise<void> {
    await this.volume.run('directory sync', async () => {
      const handle = await open(path, 'r')
      await handle.sync().finally(() => handle.close())
    })
  }
}
