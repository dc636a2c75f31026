/**
 * Reads every file of a store again and again, slowly, those in the trash as well, and compares it with its row: so damage is
 * found before somebody asks for the file. One member of a group reads a store at a time, by a lease; the next round is another one's, because
 * on a mirrored volume each may read a copy of its own. It accuses nobody at the first sight: what differs is read again,
 * and its row too, as it may have been deleted meanwhile.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import type { Database, FileRow } from '@tributary/database'
import { formatFileKey, TributaryError } from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import { checksumText } from './file-checksum.ts'
import { detailOf } from './finding.ts'
import {
  readScrubState,
  writeScrubState,
  type ScrubFinding,
  type ScrubRound,
  type ScrubState
} from './scrub-state.ts'
import { readMarker } from './store-marker.ts'
import type { Store } from './store.ts'

/** Longer than a round goes without renewing it; a member that dies holds the others up this long. */
const LEASE_TTL_MS = 300_000
/** What a crash makes a round read again, or the file that it was at. */
const SAVE_INTERVAL_MS = 30_000
/** Between two looks whether a round is due. */
const LOOK_MS_MIN = 1_000
const LOOK_MS_MAX = 60_000
/** A member that was at it lately leaves the next round to the others for so long. */
const TURN_MS = 600_000
const CLOCK_ERROR_MS = 86_400_000
const PAGE_ROWS = 200
const PIECE_BYTES = 256 * 1024
/** A file costs a seek and some calls beside its bytes: very many tiny ones must not become very many calls. */
const FILE_COST_BYTES = 64 * 1024
/** A file that was stored a moment ago may not be everywhere yet. */
const YOUNG_MS = 10_000
/** Before a second look at what differs. */
const LOOK_AGAIN_MS = 2_000
/** What says something of the file; anything else, such as too many open files, is this process's own trouble. */
const UNREADABLE = new Set(['EIO', 'EACCES', 'EPERM', 'EUCLEAN', 'EBADMSG', 'ELOOP', 'EISDIR'])
/** An end waits no longer for where it stood to be written down: then a few files are read again. */
const STOP_WAIT_MS = 2_000
/** Findings that are kept; more are in the log only. */
export const FINDINGS_MAX = 100

export interface ScrubReport {
  root: string
  /** Read by this worker since its start. */
  files: number
  bytes: number
  /** UNIX milliseconds at which the last full round ended, whoever did it; 0: none has. */
  lastRoundMs: number
  /** Found, and not well again, deleted or restored since. */
  damaged: number
  missing: number
  /** In words; '' where nothing was found. */
  text: string
}

export interface ScrubOptions {
  /** All stores together. */
  bytesPerS: number
  /** From the end of one round to the next. */
  intervalMs: number
  /** Default YOUNG_MS. */
  youngMs?: number
}

/** A round, or what is left of one, as far as this process is at it. */
interface Turn {
  store: Store
  state: ScrubState
  round: ScrubRound
  /** To be called often: keeps the lease, and writes down where the round stands. @throws the lease was lost */
  keep: () => Promise<void>
}

interface Reading {
  sizeBytes: number
  crc32: number
}

export class Scrubber {
  readonly #database: Database
  readonly #log: Log
  readonly #options: ScrubOptions
  readonly #stopping = new AbortController()
  readonly #reports = new Map<Store, ScrubReport>()
  readonly #loops: Promise<void>[] = []
  #paceMs = 0

  constructor(database: Database, log: Log, options: ScrubOptions) {
    this.#database = database
    this.#log = log
    this.#options = options
  }

  /** From now on `store` is read, too. */
  add(store: Store): void {
    this.#loops.push(this.#loop(store))
  }

  /** Resolves when it is written down where it stood, or cannot be soon. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.race([Promise.all(this.#loops), sleep(STOP_WAIT_MS, undefined, { ref: false })])
  }

  reports(): ScrubReport[] {
    return [...this.#reports.values()]
  }

  async #loop(store: Store): Promise<void> {
    const lookMs = Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, this.#options.intervalMs / 20))
    while (!this.#isStopping) {
      try {
        if (store.trouble === undefined) await this.round(store)
      } catch (err) {
        if (!this.#isStopping) this.#log.warn({ err }, `the scrub of ${store.root} goes on later`)
      }
      await this.#sleep(lookMs)
    }
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted
  }

  /**
   * Reads a store to the end, if that is due and no other member is at it.
   *
   * @returns Whether a round came to its end.
   */
  async round(store: Store): Promise<boolean> {
    const before = await store.volume.run('scrub', () => readScrubState(store.root))
    this.#note(store, before)
    const lease = `scrub ${store.uuid}`
    const take = async (): Promise<boolean> =>
      (await this.#database.leases.take(lease, store.member, LEASE_TTL_MS)) !== undefined
    if (!this.#isDue(before, store.member) || !(await take())) return false
    try {
      const state = await store.volume.run('scrub', () => readScrubState(store.root))
      if (!this.#isDue(state, store.member)) return false // another one was quicker
      return await this.#roundUnderLease(store, state, take)
    } finally {
      await this.#database.leases.release(lease, store.member)
    }
  }

  #isDue({ round, last, turns }: ScrubState, member: string): boolean {
    if (round || !last) return true
    if (last.endedAtMs > Date.now() + CLOCK_ERROR_MS) return true // by a clock that was wrong
    const own = turns[member] ?? 0
    const longer = Object.values(turns).filter(endedMs => endedMs < own).length
    const waitMs = longer * Math.min(TURN_MS, this.#options.intervalMs)
    return Date.now() >= last.endedAtMs + this.#options.intervalMs + waitMs
  }

  async #roundUnderLease(store: Store, state: ScrubState, take: () => Promise<boolean>): Promise<boolean> {
    const round = (state.round ??= { startedAtMs: Date.now(), afterPath: '', files: 0, bytes: 0 })
    let savedMs = performance.now()
    const save = async (): Promise<void> => {
      savedMs = performance.now()
      if (!(await take())) throw new Error('the lease of the scrub was lost')
      await store.volume.run('scrub', () => writeScrubState(store.root, state))
    }
    const keep = async (): Promise<void> => {
      if (performance.now() - savedMs > SAVE_INTERVAL_MS) await save()
    }
    const turn: Turn = { store, state, round, keep }
    await this.#lookAtFindings(store, state)
    try {
      for (;;) {
        const rows = await this.#database.files.listStore({
          store: store.uuid,
          limit: PAGE_ROWS,
          ...(round.afterPath === '' ? {} : { afterPath: round.afterPath })
        })
        for (const row of rows) {
          await this.#scrub(turn, row)
          if (this.#isStopping) return false
          round.afterPath = row.path
          await keep()
        }
        if (rows.length < PAGE_ROWS) break
      }
      const { startedAtMs, files, bytes } = round
      const endedAtMs = Date.now()
      state.last = { startedAtMs, endedAtMs, by: store.member, files, bytes }
      state.turns[store.member] = endedAtMs
      state.round = undefined
      this.#log.info(
        { store: store.root, files, bytes, findings: state.findings.length },
        'all files were read'
      )
      return true
    } finally {
      this.#note(store, state)
      await save()
    }
  }

  /** What was found before may be deleted or restored by now. */
  async #lookAtFindings(store: Store, state: ScrubState): Promise<void> {
    const paths = state.findings.map(({ path }) => path)
    const rows = await this.#database.files.findPaths(store.uuid, paths)
    const generations = new Set(rows.filter(row => row.state !== 'deleting').map(row => row.generation))
    state.findings = state.findings.filter(({ generation }) => generations.has(generation))
    this.#note(store, state)
  }

  async #scrub(turn: Turn, row: FileRow): Promise<void> {
    const { store, state, round } = turn
    if (row.state === 'deleting' || Date.now() - row.storedAtMs < (this.#options.youngMs ?? YOUNG_MS)) return
    const finding = await this.#examine(turn, row)
    if (this.#isStopping) return
    round.files++
    const report = this.#reports.get(store)!
    report.files++
    const known = state.findings.find(({ path }) => path === row.path)
    if (!finding && !known) return
    state.findings = state.findings.filter(each => each !== known)
    if (finding) {
      if (state.findings.length < FINDINGS_MAX)
        state.findings.push({ ...finding, foundAtMs: known?.foundAtMs ?? finding.foundAtMs })
      const { kind, path, file, detail } = finding
      if (!known || known.kind !== kind)
        this.#log.error(
          { kind, store: store.root, path, file, detail },
          'a stored file is not what was stored'
        )
    } else
      this.#log.info({ store: store.root, path: row.path, file: formatFileKey(row) }, 'a file is well again')
    this.#note(store, state)
  }

  /** undefined: it is what was stored, or was deleted meanwhile. */
  async #examine(turn: Turn, row: FileRow): Promise<ScrubFinding | undefined> {
    const { store } = turn
    for (let look = 0; ; look++) {
      const found = await this.#compare(turn, row)
      if (found === undefined || this.#isStopping) return undefined
      const [now] = await this.#database.files.findPaths(store.uuid, [row.path])
      if (now?.generation !== row.generation || now.state === 'deleting') return undefined
      if (look > 0) {
        const { path, generation } = row
        const file = formatFileKey(row)
        const detail = detailOf(now, found.detail)
        return { ...found, detail, path, file, generation, foundAtMs: Date.now(), foundBy: store.member }
      }
      await this.#sleep(LOOK_AGAIN_MS)
    }
  }

  async #compare(turn: Turn, row: FileRow): Promise<Pick<ScrubFinding, 'kind' | 'detail'> | undefined> {
    const { store } = turn
    let reading: Reading
    try {
      reading = await this.#read(turn, row)
    } catch (error) {
      // A volume that hangs or is not there says nothing of a file.
      const { code, message } = error as NodeJS.ErrnoException
      if (error instanceof TributaryError || this.#isStopping) throw error
      const { cluster, group } = store.marker
      await store.volume.run('marker', () => readMarker(store.root, { cluster, group }))
      if (code === 'ENOENT') return { kind: 'missing', detail: `${row.sizeBytes} bytes` }
      if (!UNREADABLE.has(code ?? '')) throw error
      return { kind: 'unreadable', detail: message }
    }
    if (reading.sizeBytes !== row.sizeBytes) {
      const detail = `${reading.sizeBytes} bytes on disk, ${row.sizeBytes} in the index`
      return { kind: 'wrong-size', detail }
    }
    if (reading.crc32 === row.crc32) return undefined
    const detail = `${checksumText(reading.crc32)} on disk, ${checksumText(row.crc32)} in the index`
    return { kind: 'wrong-checksum', detail }
  }

  /** One piece at a time, each a call of its own with its own deadline. */
  async #read({ store, keep }: Turn, row: FileRow): Promise<Reading> {
    await this.#pace(FILE_COST_BYTES)
    const handle = await this.#open(store, row.path)
    const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, row.sizeBytes + 1))
    const report = this.#reports.get(store)!
    const reading: Reading = { sizeBytes: 0, crc32: 0 }
    try {
      for (;;) {
        const { bytesRead } = await store.volume.run('scrub', () => handle.read(buffer, 0, buffer.byteLength))
        if (bytesRead === 0) return reading
        reading.sizeBytes += bytesRead
        reading.crc32 = crc32(buffer.subarray(0, bytesRead), reading.crc32)
        report.bytes += bytesRead
        // What is longer than it should be is not read to its end.
        if (reading.sizeBytes > row.sizeBytes) return reading
        await this.#pace(bytesRead)
        await keep()
        this.#stopping.signal.throwIfAborted()
      }
    } finally {
      if (store.volume.local) await handle.close()
      else store.volume.chore(() => handle.close())
    }
  }

  async #open(store: Store, path: string): Promise<FileHandle> {
    let late = false
    try {
      return await store.volume.run('scrub', async () => {
        const handle = await open(store.absolute(path), 'r')
        if (late) await handle.close()
        return handle
      })
    } catch (error) {
      late = true // whoever waited was told: what the volume still opens is closed
      throw error
    }
  }

  /** Holds the reading back, so that it takes no more than its share of a second. */
  async #pace(bytes: number): Promise<void> {
    const nowMs = performance.now()
    this.#paceMs = Math.max(nowMs, this.#paceMs) + (bytes / this.#options.bytesPerS) * 1_000
    await this.#sleep(this.#paceMs - nowMs)
  }

  async #sleep(ms: number): Promise<void> {
    if (ms < 1 || this.#isStopping) return
    await sleep(ms, undefined, { signal: this.#stopping.signal, ref: false }).catch(() => {})
  }

  #note(store: Store, { last, findings }: ScrubState): void {
    const before = this.#reports.get(store)
    const missing = findings.filter(({ kind }) => kind === 'missing').length
    const damaged = findings.length - missing
    const [first] = findings
    this.#reports.set(store, {
      root: store.root,
      files: before?.files ?? 0,
      bytes: before?.bytes ?? 0,
      lastRoundMs: last?.endedAtMs ?? 0,
      damaged,
      missing,
      text: first
        ? `${damaged} damaged, ${missing} missing: ${first.kind} ${first.file} at ${first.path}` +
          (findings.length > 1 ? ' and others; fsck --checksums tells them all' : '')
        : ''
    })
  }
}
