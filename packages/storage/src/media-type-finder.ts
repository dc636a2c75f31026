/**
 * Media types found from content, for files whose uploader did not say: at once for who asks, and for the index's
 * listings a while after the upload, so slowly that nobody notices.
 */
import type { FileIndex, FileRow } from '@tributary/database'
import { foundMediaType, SAMPLE_BYTES } from './media-type.ts'
import { CONTENT_BYTES_MAX, type OpenFile, type OpenFiles } from './open-files.ts'

/** Between two files: at most 20 a second. */
const PAUSE_MS = 50
/** Files that wait; those beyond are looked at when somebody asks for them. */
export const UNTYPED_FILES_MAX = 1_000

export class MediaTypeFinder {
  readonly #files: OpenFiles
  readonly #index: FileIndex
  readonly #pauseMs: number
  readonly #untyped: FileRow[] = []
  #running = false
  #closed = false

  constructor(files: OpenFiles, index: FileIndex, pauseMs = PAUSE_MS) {
    this.#files = files
    this.#index = index
    this.#pauseMs = pauseMs
  }

  /** The type of an open file, remembered while it is open; '' where nobody knows. */
  typeOf(entry: OpenFile): string | Promise<string> {
    const { row } = entry
    if (row.mediaType !== '') return row.mediaType
    if (entry.mediaType !== undefined) return entry.mediaType
    const release = this.#files.use(entry)
    return this.#find(entry)
      .then(
        found => (entry.mediaType = found),
        () => ''
      )
      .finally(release)
  }

  /** A file was stored: its type is looked for some time, and written into its row. */
  note(row: FileRow): void {
    if (row.mediaType !== '' || row.sizeBytes === 0) return
    if (this.#closed || this.#untyped.length >= UNTYPED_FILES_MAX) return
    this.#untyped.push(row)
    if (!this.#running) void this.#run()
  }

  close(): void {
    this.#closed = true
    this.#untyped.length = 0
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#untyped.length > 0) {
      await new Promise(resolve => setTimeout(resolve, this.#pauseMs).unref())
      const row = this.#untyped.shift()
      // Deleted meanwhile, or not to be had right now: whoever asks for it next finds out.
      if (row) await this.#learn(row).catch(() => {})
    }
    this.#running = false
  }

  async #learn(row: FileRow): Promise<void> {
    const entry = await this.#files.open(row)
    if (entry.row.generation !== row.generation) return
    const mediaType = await this.typeOf(entry)
    if (mediaType !== '' && !this.#closed) await this.#index.setMediaType(row, row.generation, mediaType)
  }

  async #find(entry: OpenFile): Promise<string> {
    const { row, store } = entry
    if (row.sizeBytes === 0) return ''
    const sample =
      row.sizeBytes <= CONTENT_BYTES_MAX
        ? await this.#files.content(entry)
        : await this.#files.sample(entry, SAMPLE_BYTES)
    store.check()
    return foundMediaType(sample.subarray(0, SAMPLE_BYTES))
  }
}
