/**
 * What names a file. Compared byte for byte on every engine: letter case, trailing spaces and the
 * two spellings of é are different keys.
 *
 *   application  [A-Za-z0-9]{1,15}
 *   user         1..255 bytes of UTF-8
 *   file         1..127 bytes of UTF-8
 */
export interface FileKey {
  application: string
  user: string
  file: string
}

export type FileState = 'stored' | 'trashed' | 'deleting'

export interface FileRow extends FileKey {
  /** 32 lower-case hex digits of randomness, never reused; its 128 bits make it unique, no index does. */
  generation: string
  /** 32 lower-case hex digits, of the upload; the same nonce again is the same upload. */
  nonce: string
  state: FileState
  /** UNIX milliseconds; 0 unless trashed. */
  trashedUntilMs: number
  /** 0..2^53-1. */
  sizeBytes: number
  /** Unsigned 32 bits. */
  crc32: number
  group: string
  /** UUID of the store, 36 lower-case characters. */
  store: string
  /** Relative in the store, such as 000/000/000/5F9E3FA7_000. */
  path: string
  /** Original file name, or ''. */
  name: string
  /** Media type, or ''. */
  mediaType: string
  /** UNIX milliseconds. */
  storedAtMs: number
}

/** A file's way from one group to another. */
export interface Move extends FileKey {
  /** The file keeps it. */
  generation: string
  /** Old place. */
  group: string
  store: string
  path: string
  /** New place. */
  toGroup: string
  toStore: string
  toPath: string
}

export type InsertOutcome = { inserted: true } | { inserted: false; existing: FileRow | undefined }

export interface FindOptions {
  /**
   * The read sees every commit that was acknowledged anywhere before it, and skips caches. Ask for it
   * before a negative answer and before a destructive decision.
   */
  causal?: boolean
}

export interface InsertOptions {
  /**
   * False lets SQLite commit without a sync of its own: the caller's journal is the point of
   * durability and replays what is missing. Default true. MySQL commits as its server is set to.
   */
  durable?: boolean
}

/** Rows of one transaction; a longer call is split, each part a transaction of its own. */
export const INSERT_ROWS_MAX = 256

/** Rows of one page; a larger limit is a caller's bug. */
export const PAGE_ROWS_MAX = 10_000

/**
 * Which file is where.
 *
 * A row read without `causal` may be stale when a cache is configured: a file just deleted by another
 * member may still be answered, at most CACHE_TTL_S. Callers verify on disk (path, size) and ask again
 * with `causal` when the two disagree. Nothing is ever answered as absent from a cache.
 *
 * Every method throws or rejects with DatabaseUnavailableError when the database cannot be reached
 * within the query timeout.
 */
export interface FileIndex {
  /** SQLite answers at once (and throws at once), MySQL with a promise. Rows of every state are answered. */
  find(key: FileKey, options?: FindOptions): FileRow | undefined | Promise<FileRow | undefined>

  /**
   * One outcome per row, in order. A row whose key is taken is not inserted and reported with what
   * exists; the others are inserted. A key taken by the same generation counts as inserted (a retry after
   * an unknown outcome). Of two rows with one key in one call the first wins. A row whose
   * (store, path) belongs to another key is not inserted and reported with `existing: undefined`.
   *
   * @throws {CommitOutcomeUnknownError} rows may or may not be there; inserting them again is safe.
   */
  insert(rows: readonly FileRow[], options?: InsertOptions): Promise<InsertOutcome[]>

  /**
   * stored | trashed → deleting, only for this generation; true as well when it is deleting already.
   *
   * @param store Only while the row is of this store: a file may be moved between a look and the delete.
   */
  markDeleting(key: FileKey, generation: string, store?: string): Promise<boolean>

  /**
   * Switches a row, stored or in the trash, from its old place to its new one, and the note of `move` with it: both or none. Only while the
   * note stands as it was made (Moves.note), so that whoever took it back can be sure that no switch comes later.
   *
   * @returns False: the row is deleted, deleting, of another generation or elsewhere, or the note is gone. True as well
   *          when the row is at the new place already.
   * @throws {CommitOutcomeUnknownError} it may have been switched; asking again is safe.
   */
  move(move: Move): Promise<boolean>

  /**
   * stored ↔ trashed, only for this generation while it is of this store; the library follows in the same transaction.
   *
   * @param untilMs UNIX milliseconds; 0: out of the trash.
   * @returns false: there is no such file, or it is being deleted. True as well when it is so already.
   */
  setTrashed(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean>

  /**
   * trashed → deleting, only where its time was up at `untilMs`: whatever was taken out of the trash meanwhile stays.
   *
   * @param untilMs UNIX milliseconds; Number.MAX_SAFE_INTEGER: whenever its time is up
   * @returns false: it is not in the trash any more, or not that long.
   */
  markExpired(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean>

  /** Removes the row of this generation, whatever its state. False: there was none. */
  remove(key: FileKey, generation: string): Promise<boolean>

  /** Makes durable what was inserted before with `durable: false`. Where every commit is durable, nothing is done. */
  sync(): Promise<void>

  /** Sets the media type of a row that was stored without one. False: no such row, or it has one. */
  setMediaType(key: FileKey, generation: string, mediaType: string): Promise<boolean>

  /** A page in byte order of file id, stored ones only, without those derived from others; `after` is the last id of the page before. */
  list(where: { application: string; user: string; after?: string; limit: number }): Promise<FileRow[]>

  /** What was made from this generation of a film, in byte order of the ids; stored ones only. */
  listDerived(where: { application: string; user: string; generation: string }): Promise<FileRow[]>

  /** All rows of a store in path order; `afterPath` is the last path of the page before. */
  listStore(where: {
    store: string
    afterPath?: string
    limit: number
    state?: FileState
  }): Promise<FileRow[]>

  /** The rows of the store at these paths, in no particular order. */
  findPaths(store: string, paths: readonly string[]): Promise<FileRow[]>

  /** The stores that have rows, and the group of each, in no particular order. */
  groupStores(): Promise<{ store: string; group: string }[]>

  /** Rows and bytes of every state: what the store has to hold. */
  totals(store: string): Promise<{ files: number; bytes: number }>

  /** UUIDs of the stores that have rows, in byte order. */
  stores(): Promise<string[]>
}
