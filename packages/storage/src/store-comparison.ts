/**
 * Compares the rows of a store with its files in one pass: both come in order of their paths, a page at a time. What
 * differs is only suspected at first, as uploads and deletes go on meanwhile: it is looked at again, causally, and if it
 * is young, once more after a while.
 */
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Database, FileRow } from '@tributary/database'
import { formatFileKey } from '@tributary/protocol'
import { walkStore, type DiskFile } from './disk-walk.ts'
import { checksumText, FileChecksums } from './file-checksum.ts'
import { detailOf, type Finding, type FindingKind } from './finding.ts'
import type { StoreMarker } from './store-marker.ts'

const PAGE_ROWS = 1_000
/** Files looked at at a time: the threads that a process has by default. */
const LOOKS_MAX = 4
/** Suspicions that are looked into together. */
const SUSPECTS_MAX = 500
/** Suspicions that wait for their second look; with more, the comparison waits for them. */
const YOUNG_MAX = 10_000
/** What nobody has touched for so long is no upload under way, by whichever clock of the cluster. */
const YOUNG_MS = 600_000

export interface ComparisonOptions {
  /** Reads every file and compares its checksum. */
  checksums: boolean
  /** A difference must last so long before it is one. */
  settleMs: number
  onFinding: (finding: Finding, row: FileRow | undefined, changedMs: number) => void
  onProgress?: (files: number) => void
}

export interface StoreTotals {
  files: number
  bytes: number
  rows: number
}

interface Suspect {
  path: string
  /** The content, not just its length: it is read again. */
  isContent: boolean
  isStranger: boolean
  dueMs: number
}

interface Verdict {
  kind: FindingKind
  detail: string
  row: FileRow | undefined
  /** UNIX milliseconds of the latest that was done to either side; 0: not known. */
  changedMs: number
}

interface Seen {
  sizeBytes: number
  changedMs: number
  isFile: boolean
}

export class StoreComparison {
  readonly #database: Database
  readonly #root: string
  readonly #marker: StoreMarker
  readonly #options: ComparisonOptions
  readonly #checksums = new FileChecksums()
  #suspects: Suspect[] = []
  #young: Suspect[] = []

  constructor(database: Database, root: string, marker: StoreMarker, options: ComparisonOptions) {
    this.#database = database
    this.#root = root
    this.#marker = marker
    this.#options = options
  }

  /** @throws {DatabaseUnavailableError} @throws the file system's error: nothing can be said of the rest */
  async run(): Promise<StoreTotals> {
    const totals: StoreTotals = { files: 0, bytes: 0, rows: 0 }
    const files = walkStore(this.#root, path => this.#suspect(path, { isStranger: true }), LOOKS_MAX)
    const rows = rowsOf(this.#database, this.#marker.store)
    let file = await next<DiskFile>(files)
    let row = await next<FileRow>(rows)
    while (file || row) {
      const order = !row ? -1 : !file ? 1 : file.path < row.path ? -1 : file.path > row.path ? 1 : 0
      if (order !== 0) this.#suspect((order < 0 ? file! : row!).path)
      else await this.#compareOne(file!, row!)
      if (this.#suspects.length >= SUSPECTS_MAX) await this.#lookAgain()
      if (order <= 0) {
        totals.files++
        totals.bytes += file!.sizeBytes
        if (totals.files % PAGE_ROWS === 0) this.#options.onProgress?.(totals.files)
        file = await next<DiskFile>(files)
      }
      if (order >= 0) {
        totals.rows++
        row = await next<FileRow>(rows)
      }
    }
    await this.#lookAgain()
    await this.#settle()
    return totals
  }

  async #compareOne(file: DiskFile, row: FileRow): Promise<void> {
    if (row.state === 'deleting' || row.group !== this.#marker.group || file.sizeBytes !== row.sizeBytes) {
      this.#suspect(row.path)
    } else if (this.#options.checksums) {
      const sum = await this.#checksums.of(join(this.#root, file.path), file.sizeBytes).catch(() => undefined) // looked into again
      if (sum !== row.crc32) this.#suspect(row.path, { isContent: true })
    }
  }

  #suspect(path: string, of: Partial<Suspect> = {}): void {
    this.#suspects.push({ path, isContent: false, isStranger: false, dueMs: 0, ...of })
  }

  async #lookAgain(): Promise<void> {
    const suspects = this.#suspects
    this.#suspects = []
    const verdicts = await this.#judge(suspects)
    const dueMs = performance.now() + this.#options.settleMs
    for (const [index, verdict] of verdicts.entries()) {
      if (!verdict) continue
      const isOld = verdict.changedMs > 0 && Date.now() - verdict.changedMs > YOUNG_MS
      if (isOld || this.#options.settleMs === 0) this.#report(suspects[index]!, verdict)
      else this.#young.push({ ...suspects[index]!, dueMs })
    }
    if (this.#young.length >= YOUNG_MAX) await this.#settle()
  }

  async #settle(): Promise<void> {
    const young = this.#young
    this.#young = []
    for (let at = 0; at < young.length; at += SUSPECTS_MAX) {
      const suspects = young.slice(at, at + SUSPECTS_MAX)
      const waitMs = suspects.at(-1)!.dueMs - performance.now()
      if (waitMs > 0) await new Promise(resolve => setTimeout(resolve, waitMs))
      for (const [index, verdict] of (await this.#judge(suspects)).entries()) {
        if (verdict) this.#report(suspects[index]!, verdict)
      }
    }
  }

  #report({ path }: Suspect, { kind, detail, row, changedMs }: Verdict): void {
    const file = row ? formatFileKey(row) : ''
    const text = row ? detailOf(row, detail) : detail
    this.#options.onFinding({ kind, store: this.#marker.store, path, file, detail: text }, row, changedMs)
  }

  /**
   * Rows are read before the files and after them. A delete unlinks before its row goes, and an upload has its file
   * before its row: so a file is an orphan if it had no row before it was seen, and missing if it still has one after.
   */
  async #judge(suspects: readonly Suspect[]): Promise<(Verdict | undefined)[]> {
    const paths = suspects.map(({ path }) => path)
    const before = await this.#rowsAt(paths)
    const seen = new Map<string, Seen | undefined>()
    for (const path of paths) seen.set(path, await this.#look(path))
    const contents = new Map<string, number | Error>()
    for (const { path, isContent } of suspects) {
      if (!isContent) continue
      const sum = this.#checksums.of(join(this.#root, path), seen.get(path)?.sizeBytes ?? 0)
      contents.set(path, await sum.catch((error: Error) => error))
    }
    const after = await this.#rowsAt(paths)
    const verdicts: (Verdict | undefined)[] = []
    for (const { path, isStranger } of suspects) {
      const on = seen.get(path)
      const verdict = isStranger
        ? on && strangerVerdict(on)
        : this.#verdict(before.get(path), on, after.get(path), contents.get(path))
      const isFine = verdict?.kind === 'orphaned' && (await this.#wasMoved(path))
      verdicts.push(isFine ? undefined : verdict)
    }
    return verdicts
  }

  /** Of a file that was moved to another group the old copy goes when a storage server of this one next looks. */
  async #wasMoved(path: string): Promise<boolean> {
    try {
      return (await this.#database.moves.find(this.#marker.store, path)) !== undefined
    } catch (error) {
      // A schema that knows no moves has none.
      if ((error as { code?: string }).code !== 'SCHEMA_VERSION') throw error
      return false
    }
  }

  #verdict(
    before: FileRow | undefined,
    on: Seen | undefined,
    row: FileRow | undefined,
    content: number | Error | undefined
  ): Verdict | undefined {
    if (!row) {
      if (!on?.isFile || before) return undefined
      const detail = `${on.sizeBytes} bytes, last changed ${new Date(on.changedMs).toISOString()}`
      return { kind: 'orphaned', detail, row, changedMs: on.changedMs }
    }
    const changedMs = Math.max(row.storedAtMs, on?.changedMs ?? 0)
    if (row.state === 'deleting') {
      const detail = on ? 'its file is still there' : 'its file is gone already'
      return { kind: 'half-deleted', detail, row, changedMs: 0 } // since when, nothing says
    }
    if (!on?.isFile) return { kind: 'missing', detail: `${row.sizeBytes} bytes`, row, changedMs }
    if (on.sizeBytes !== row.sizeBytes) {
      const detail = `${on.sizeBytes} bytes on disk, ${row.sizeBytes} in the index`
      return { kind: 'wrong-size', detail, row, changedMs }
    }
    if (row.group !== this.#marker.group) {
      const detail = `group ${row.group} in the index, the store is of ${this.#marker.group}`
      return { kind: 'wrong-group', detail, row, changedMs }
    }
    if (content instanceof Error) {
      if ((content as NodeJS.ErrnoException).code === 'ENOENT') return undefined // deleted a moment ago
      return { kind: 'unreadable', detail: content.message, row, changedMs }
    }
    if (content === undefined || content === row.crc32) return undefined
    const detail = `${checksumText(content)} on disk, ${checksumText(row.crc32)} in the index`
    return { kind: 'wrong-checksum', detail, row, changedMs }
  }

  async #rowsAt(paths: readonly string[]): Promise<Map<string, FileRow>> {
    const rows = await this.#database.files.findPaths(this.#marker.store, paths)
    return new Map(rows.map(row => [row.path, row]))
  }

  async #look(path: string): Promise<Seen | undefined> {
    try {
      const stats = await lstat(join(this.#root, path))
      return { sizeBytes: stats.size, changedMs: stats.ctimeMs, isFile: stats.isFile() }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
}

function strangerVerdict({ changedMs }: Seen): Verdict {
  return { kind: 'stranger', detail: 'no file of a store has such a name', row: undefined, changedMs }
}

async function next<T>(items: AsyncGenerator<T>): Promise<T | undefined> {
  return (await items.next()).value as T | undefined
}

/** All rows of a store in order of their paths. */
export async function* rowsOf(database: Database, store: string): AsyncGenerator<FileRow> {
  let afterPath: string | undefined
  for (;;) {
    const page = await database.files.listStore({
      store,
      limit: PAGE_ROWS,
      ...(afterPath === undefined ? {} : { afterPath })
    })
    yield* page
    if (page.length < PAGE_ROWS) return
    afterPath = page.at(-1)!.path
  }
}
