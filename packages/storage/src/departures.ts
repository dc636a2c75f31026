/**
 * Old copies of files that another group has now. Each is put aside at once, so that nobody takes it for the file any
 * more, and removed after a while, when a member of the other group was seen to have the new one. What is under way is
 * noted in the database: a crash at any point is gone on from.
 *
 *   <store>/.moved/<place>-<generation>     put aside; transfers that had it open go on
 */
import { link, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { MOVES_PAGE_MAX, type FileIndex, type Move, type Moves } from '@tributary/database'
import { formatFileKey } from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import { encodeRecord } from './journal-record.ts'
import type { Neighbours } from './neighbours.ts'
import type { OpenFiles } from './open-files.ts'
import { isAt } from './row-switch.ts'
import { makeStoreDirectory } from './store-directory.ts'
import { MARKER_NAME } from './store-marker.ts'
import type { Store } from './store.ts'

export const MOVED_FOLDER = '.moved'
/** Copies looked after at a time. */
const AT_A_TIME = 8
/** A database that is not migrated yet is asked again so often. */
const SCHEMA_WAIT_MS = 60_000
/** Of copies that have to stay it is told so often. */
const REMARK_INTERVAL_MS = 600_000
const NO_NONCE = '0'.repeat(32)

export interface DeparturesOptions {
  index: FileIndex
  moves: Moves
  /** By UUID: those that are in use, as they come. */
  stores: ReadonlyMap<string, Store>
  open: OpenFiles
  neighbours: Pick<Neighbours, 'hasFile'>
  /** How long an old copy stays. */
  keepMs: number
  log: Log
  nowMs?: () => number
}

export class Departures {
  readonly #options: DeparturesOptions
  readonly #nowMs: () => number
  #restsUntilMs = 0
  #remarkedMs = -Infinity

  constructor(options: DeparturesOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? Date.now
  }

  /** One look after every store that is in use; to be called again and again. */
  async round(): Promise<void> {
    if (performance.now() < this.#restsUntilMs) return
    try {
      for (const store of this.#options.stores.values()) {
        if (store.trouble !== undefined) continue
        await this.#park(store)
        await this.#remove(store)
      }
    } catch (error) {
      if ((error as { code?: string }).code !== 'SCHEMA_VERSION') throw error
      this.#restsUntilMs = performance.now() + SCHEMA_WAIT_MS
    }
  }

  async #park(store: Store): Promise<void> {
    const { index, moves, open } = this.#options
    const left: Move[] = []
    await severally(await moves.toPark(store.uuid, MOVES_PAGE_MAX), async move => {
      const row = await index.find(move, { causal: true })
      if (row && isAt(row, move)) await this.#keep(store, move)
      else left.push(move)
    })
    if (left.length === 0) return
    await makeStoreDirectory(store.root, MOVED_FOLDER)
    // First the journal: an index that is made again from it must not find the old copy and believe it.
    await store.journal.append(left.map(move => encodeRecord('moved', factsOfMove(move, this.#nowMs()))))
    if (store.durable) await store.journal.sync()
    await severally(left, async move => {
      await store.volume.run('put aside', () => putAside(store, move))
      open.forget(move)
      await moves.park(store.uuid, move.path, this.#nowMs())
    })
  }

  async #remove(store: Store): Promise<void> {
    const { moves, keepMs, log } = this.#options
    const page = await moves.toRemove(store.uuid, this.#nowMs() - keepMs + 1, MOVES_PAGE_MAX)
    let unseen = 0
    await severally(page, async move => {
      const where = await this.#whereIs(move)
      if (where === 'here') return this.#keep(store, move)
      if (where === 'unseen') {
        unseen++
        return
      }
      await store.removeFile(parkedPath(move))
      // After a power loss it may be at its old place again.
      await store.removeFile(move.path)
      await moves.remove(store.uuid, move.path)
    })
    if (unseen === 0 || performance.now() - this.#remarkedMs < REMARK_INTERVAL_MS) return
    this.#remarkedMs = performance.now()
    log.warn(
      { copies: unseen, store: store.root },
      'old copies of moved files stay: no member of the new group was seen to have them'
    )
  }

  /**
   * `elsewhere`: the new copy was opened by a member that has it, or the file is gone, or another upload has its name.
   * `here`: the row says the old place, as one from a backup may.
   */
  async #whereIs(move: Move): Promise<'elsewhere' | 'unseen' | 'here'> {
    const { index, neighbours, stores } = this.#options
    const row = await index.find(move, { causal: true })
    if (!row || row.generation !== move.generation || row.state === 'deleting') return 'elsewhere'
    if (isAt(row, move)) return 'here'
    const own = stores.get(row.store)
    if (!own) return (await neighbours.hasFile(row)) ? 'elsewhere' : 'unseen'
    // It came back meanwhile.
    const stats = await own.volume.run('stat', () => stat(own.absolute(row.path))).catch(() => undefined)
    return stats?.size === row.sizeBytes ? 'elsewhere' : 'unseen'
  }

  /** What the index says is here is here: the note is from another time. */
  async #keep(store: Store, move: Move): Promise<void> {
    const { moves, log } = this.#options
    await store.volume.run('put back', () => putBack(store, move))
    await moves.remove(store.uuid, move.path)
    log.warn(
      { file: formatFileKey(move), group: move.toGroup },
      'a move is forgotten: the index knows nothing of it'
    )
  }
}

/** Where the old copy of a move lies until it is removed, relative in its store. */
export function parkedPath({ path, generation }: Move): string {
  return join(MOVED_FOLDER, `${path.replaceAll('/', '-')}-${generation}`)
}

/** One that is gone was put aside by another member, or removed by a recovery. */
async function putAside(store: Store, move: Move): Promise<void> {
  try {
    await rename(store.absolute(move.path), store.absolute(parkedPath(move)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await stat(store.absolute(MARKER_NAME)) // nothing is there where the volume is not mounted
  }
}

function factsOfMove({ application, user, file, generation, group, path }: Move, atMs: number) {
  return {
    application,
    user,
    file,
    generation,
    nonce: NO_NONCE,
    sizeBytes: 0,
    crc32: 0,
    group,
    path,
    name: '',
    mediaType: '',
    storedAtMs: 0,
    atMs
  }
}

/** Unless it is there: one that was never put aside. */
async function putBack(store: Store, move: Move): Promise<void> {
  try {
    await link(store.absolute(parkedPath(move)), store.absolute(move.path))
    await unlink(store.absolute(parkedPath(move)))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error
  }
}

async function severally<T>(all: readonly T[], task: (one: T) => Promise<void>): Promise<void> {
  const left = [...all].reverse()
  const run = async (): Promise<void> => {
    for (let one = left.pop(); one !== undefined; one = left.pop()) await task(one)
  }
  await Promise.all(Array.from({ length: Math.min(AT_A_TIME, all.length) }, run))
}
