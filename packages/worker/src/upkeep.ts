/** What somebody has to do now and then, and whoever has time for films has time for: old jobs, and files whose film is gone. */
import { RejectedError } from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import type { Cluster } from './film-access.ts'

/** Pages of files without a film that are gone through in one round; the next round goes on from there. */
const PAGES_MAX = 50
/** Old jobs are forgotten some hundred at a time. */
const TIDY_TURNS_MAX = 100

export class Upkeep {
  readonly #cluster: Pick<Cluster, 'index' | 'deleteGeneration'>
  readonly #log: Log
  #after: { application: string; user: string } | undefined

  constructor(cluster: Pick<Cluster, 'index' | 'deleteGeneration'>, log: Log) {
    this.#cluster = cluster
    this.#log = log
  }

  async round(signal: AbortSignal): Promise<void> {
    let removed = 0
    for (let turn = 0; turn < TIDY_TURNS_MAX; turn++) {
      const tidied = await this.#cluster.index('jobs.tidy', {}, { signal })
      removed += tidied.removed
      if (tidied.removed === 0) break
    }
    let deleted = 0
    for (let page = 0; page < PAGES_MAX; page++) {
      const after = this.#after
      const { files, next } = await this.#cluster.index('library.orphans', after ? { after } : {}, { signal })
      for (const { generation, ...key } of files) {
        signal.throwIfAborted()
        try {
          await this.#cluster.deleteGeneration(key, generation, { signal })
          deleted++
        } catch (error) {
          // Another worker was faster; or its group cannot be reached, which is no reason to leave the others.
          const isGone = error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
          if (!isGone) this.#log.debug({ err: error }, 'a file of a film that is gone is deleted later')
        }
      }
      this.#after = next
      if (next === undefined) break
    }
    if (removed > 0 || deleted > 0) {
      this.#log.info(
        { jobs: removed, files: deleted },
        'old jobs were forgotten, files of films that are gone were deleted'
      )
    }
  }
}
