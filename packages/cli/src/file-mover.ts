/**
 * Moves the files of a group to others, while they are read. Each file is taken over by a member of the group that is to
 * have it (ADOPT); this only says which one, and how fast. What is left to do is what the index still has in the
 * group, so that a run goes on where the one before ended, however that ended.
 */
import { createHash } from 'node:crypto'
import type { Database, FileRow } from '@tributary/database'
import {
  COMMANDS,
  encodeFrame,
  errorOf,
  extension,
  formatFileKey,
  TributaryError,
  type Address,
  type ClusterReply
} from '@tributary/protocol'
import type { PeerPool } from '@tributary/transport'

/** One mover at a time in a cluster. */
const LEASE_NAME = 'move files'
const LEASE_TTL_MS = 15_000
const LEASE_RENEWAL_MS = 5_000
const LEASE_RETRY_MS = 500
const PAGE_ROWS = 256
const PAGE_USERS = 1_000
/** Files on their way at a time: enough to hide that each waits for the disk some times. */
const FILES_AT_A_TIME = 8
/** Users whose group is remembered. */
const ROUTES_MAX = 10_000
const MEMBERS_MAX_AGE_MS = 3_000
/** Members asked for one file, one after the other, before it counts as failed. */
const TRIES_MAX = 4
const TRY_PAUSE_MS = 500
const CONNECT_TIMEOUT_MS = 3_000
/** For the reply to an ADOPT, beside the time that its bytes take … */
const REPLY_TIMEOUT_MS = 60_000
/** … at least at this pace. */
const BYTES_PER_S_MIN = 1024 * 1024
const FAILURES_TOLD_MAX = 20

export interface MoveProgress {
  /** Moved by this run. */
  files: number
  bytes: number
  /** What the group had when it began. */
  totalFiles: number
  totalBytes: number
}

export interface MoveReport extends MoveProgress {
  /** Users that were tied to another group. */
  users: number
  /** Deleted or replaced meanwhile. */
  gone: number
  failed: number
  /** Files that the group still has. */
  left: number
  /** Of the first ones that failed: the file and why. */
  failures: string[]
  /** Files and bytes by the group that they went to. */
  targets: Record<string, { files: number; bytes: number }>
}

export interface FileMoverOptions {
  database: Database
  /** Of role storage. */
  pool: PeerPool
  /** The trackers' table. */
  cluster: () => Promise<ClusterReply>
  from: string
  /** Empty: every group that is not in drain. */
  to: readonly string[]
  /** undefined: as fast as it goes. */
  bytesPerS: number | undefined
  /** Changes nothing, and says what it would do. */
  dryRun: boolean
  /** Unlike any other mover's. */
  holder: string
  signal: AbortSignal
  onProgress: (progress: MoveProgress) => void
}

interface Target {
  readonly group: string
  readonly addresses: readonly Address[]
  readonly freeBytes: number
}

export class FileMover {
  readonly #options: FileMoverOptions
  readonly #report: MoveReport = {
    files: 0,
    bytes: 0,
    totalFiles: 0,
    totalBytes: 0,
    users: 0,
    gone: 0,
    failed: 0,
    left: 0,
    failures: [],
    targets: {}
  }
  readonly #routes = new Map<string, string | undefined>()
  #targets: Promise<readonly Target[]> | undefined
  #targetsAtMs = -Infinity
  /** When the next file may start, so that all together keep to the rate. */
  #nextStartMs = 0
  #turn = 0

  constructor(options: FileMoverOptions) {
    this.#options = options
  }

  /** What was done so far. */
  get report(): MoveReport {
    return this.#report
  }

  /**
   * Moves until nothing is left that can be moved.
   *
   * @throws {TributaryError} NO_STORAGE_READY: no group takes files. CANCELLED: `signal` ended it.
   * @throws {Error} another mover is at work.
   */
  async run(): Promise<MoveReport> {
    if (this.#options.dryRun) {
      await this.#measure()
      await this.#pass()
      return this.#report
    }
    const lease = await this.#takeLease()
    try {
      await this.#measure()
      await this.#moveUsers(lease)
      for (;;) {
        const before = this.#report.files
        const seen = await this.#pass(lease)
        if (seen === 0 || this.#report.files === before) {
          await this.#countLeft()
          return this.#report
        }
        // Files that came meanwhile, from whoever did not know of the drain yet, or that failed.
        this.#report.failed = 0
        this.#report.failures = []
      }
    } finally {
      await lease.release()
    }
  }

  async #takeLease(): Promise<{ lost: AbortSignal; release: () => Promise<void> }> {
    const { database, holder, signal } = this.#options
    const { leases } = database
    const untilMs = performance.now() + LEASE_TTL_MS
    // One that was killed holds it a little longer.
    while ((await leases.take(LEASE_NAME, holder, LEASE_TTL_MS)) === undefined) {
      if (performance.now() > untilMs) throw new Error('files are being moved by another process already')
      await pause(LEASE_RETRY_MS, signal)
    }
    const lost = new AbortController()
    let renewedMs = performance.now()
    const timer = setInterval(() => {
      leases.take(LEASE_NAME, holder, LEASE_TTL_MS).then(
        token => {
          if (token === undefined) lost.abort(new Error('another process moves files now'))
          else renewedMs = performance.now()
        },
        (error: unknown) => {
          if (performance.now() - renewedMs > LEASE_TTL_MS - LEASE_RENEWAL_MS) lost.abort(error)
        }
      )
    }, LEASE_RENEWAL_MS)
    return {
      lost: lost.signal,
      release: async () => {
        clearInterval(timer)
        await leases.release(LEASE_NAME, holder)
      }
    }
  }

  async #countLeft(): Promise<void> {
    for (const store of await this.#stores()) {
      for await (const page of this.#pagesOf(store)) this.#report.left += page.length
    }
  }

  /** Files of a store, those in the trash as well; what is being deleted goes by itself. */
  async *#pagesOf(store: string): AsyncGenerator<FileRow[]> {
    const { files } = this.#options.database
    for (let afterPath: string | undefined; ;) {
      const after = afterPath === undefined ? {} : { afterPath }
      const page = await files.listStore({ store, limit: PAGE_ROWS, ...after })
      this.#checkSignal()
      yield page.filter(({ state }) => state !== 'deleting')
      if (page.length < PAGE_ROWS) return
      afterPath = page.at(-1)!.path
    }
  }

  async #measure(): Promise<void> {
    for (const store of await this.#stores()) {
      const { files, bytes } = await this.#options.database.files.totals(store)
      this.#report.totalFiles += files
      this.#report.totalBytes += bytes
    }
    this.#options.onProgress(this.#report)
  }

  async #stores(): Promise<string[]> {
    const stores = await this.#options.database.files.groupStores()
    return stores.filter(({ group }) => group === this.#options.from).map(({ store }) => store)
  }

  /** First the users, so that their next files go where the ones before are going. */
  async #moveUsers({ lost }: { lost: AbortSignal }): Promise<void> {
    const { database, from } = this.#options
    for (;;) {
      const page = await database.routes.usersOf(from, PAGE_USERS)
      if (page.length === 0) return
      await this.#severally(page, lost, async ({ application, user }) => {
        const to = preferredOf(`${application}\0${user}`, await this.#freshTargets())
        await database.routes.retie(application, user, from, to!.group)
        this.#report.users++
      })
    }
  }

  /** @returns How many files were there. */
  async #pass(lease?: { lost: AbortSignal }): Promise<number> {
    let seen = 0
    for (const store of await this.#stores()) {
      for await (const page of this.#pagesOf(store)) {
        await this.#severally(page, lease?.lost, row => this.#moveOne(row))
        seen += page.length
      }
    }
    return seen
  }

  async #severally<T>(
    all: readonly T[],
    lost: AbortSignal | undefined,
    task: (one: T) => Promise<void>
  ): Promise<void> {
    let at = 0
    const run = async (): Promise<void> => {
      while (at < all.length) {
        this.#checkSignal()
        lost?.throwIfAborted()
        await task(all[at++]!)
      }
    }
    await Promise.all(Array.from({ length: Math.min(FILES_AT_A_TIME, all.length) }, run))
  }

  async #moveOne(row: FileRow): Promise<void> {
    const { dryRun, onProgress } = this.#options
    let failure: Error | undefined
    const full = new Set<string>()
    for (let tried = 0; tried < TRIES_MAX; tried++) {
      const target = await this.#targetOf(row, full)
      if (!target) break
      if (dryRun) return this.#count(row, target.group)
      if (tried > 0) await pause(TRY_PAUSE_MS, this.#options.signal)
      else await this.#keepRate(row.sizeBytes)
      try {
        const address = target.addresses[this.#turn++ % target.addresses.length]!
        await this.#adopt(row, address)
        this.#count(row, target.group)
        onProgress(this.#report)
        return
      } catch (error) {
        this.#checkSignal()
        if (!(error instanceof TributaryError)) throw error
        if (isGone(error)) {
          this.#report.gone++
          return
        }
        failure = error
        if (error.policy.retry === 'never') break
        // A group that has no room for this one may have it for a smaller one.
        if (error.code === 'NO_SPACE') full.add(target.group)
        this.#targetsAtMs = -Infinity
      }
    }
    this.#report.failed++
    if (this.#report.failures.length < FAILURES_TOLD_MAX) {
      this.#report.failures.push(`${formatFileKey(row)}: ${failure!.message}`)
    }
  }

  async #adopt({ application, user, file, generation, sizeBytes }: FileRow, address: Address): Promise<void> {
    const { pool, signal, bytesPerS } = this.#options
    const body = extension.adopt.encode({ application, user, file, generation, bytesPerS })
    const pace = Math.min(bytesPerS ?? BYTES_PER_S_MIN, BYTES_PER_S_MIN)
    const timeoutMs = REPLY_TIMEOUT_MS + (1_000 * sizeBytes) / pace
    const lease = await pool.lease(address, { timeoutMs: CONNECT_TIMEOUT_MS, signal })
    try {
      await lease.connection.call(encodeFrame(COMMANDS.ADOPT.code, body), { timeoutMs, signal })
    } finally {
      lease.release()
    }
  }

  #count({ sizeBytes }: FileRow, group: string): void {
    this.#report.files++
    this.#report.bytes += sizeBytes
    const target = (this.#report.targets[group] ??= { files: 0, bytes: 0 })
    target.files++
    target.bytes += sizeBytes
  }

  /**
   * The group of its user, if that may have it; else one by free space, the same for all files of a user.
   *
   * @param full Groups that have no room for it. undefined: no other is left.
   */
  async #targetOf(row: FileRow, full: ReadonlySet<string>): Promise<Target | undefined> {
    const targets = (await this.#freshTargets()).filter(({ group }) => !full.has(group))
    const name = `${row.application}\0${row.user}`
    if (!this.#routes.has(name)) {
      if (this.#routes.size >= ROUTES_MAX) this.#routes.clear()
      this.#routes.set(name, await this.#options.database.routes.groupOf(row.application, row.user))
    }
    const own = this.#routes.get(name)
    return targets.find(({ group }) => group === own) ?? preferredOf(name, targets)
  }

  async #freshTargets(): Promise<readonly Target[]> {
    if (performance.now() - this.#targetsAtMs > MEMBERS_MAX_AGE_MS) {
      this.#targetsAtMs = performance.now()
      this.#targets = this.#readTargets()
    }
    const targets = await this.#targets!
    if (targets.length > 0) return targets
    this.#targetsAtMs = -Infinity
    throw errorOf('NO_STORAGE_READY', 'no other group takes files now')
  }

  async #readTargets(): Promise<readonly Target[]> {
    const { cluster, database, from, to } = this.#options
    const rows = await database.routes.groups()
    const open = rows.filter(({ name, draining }) => (to.length > 0 ? to.includes(name) : !draining))
    const names = new Set(open.map(({ name }) => name).filter(name => name !== from))
    const targets: Target[] = []
    for (const { name, members } of (await cluster()).groups) {
      if (!names.has(name)) continue
      const taking = members.filter(
        ({ status, serving, taking: takes, legacy }) => status === 'ACTIVE' && serving && takes && !legacy
      )
      const addresses = taking.flatMap(member => member.addresses.slice(0, 1))
      const freeBytes = Math.min(...taking.map(member => member.freeBytes))
      if (addresses.length > 0) targets.push({ group: name, addresses, freeBytes })
    }
    return targets
  }

  async #keepRate(sizeBytes: number): Promise<void> {
    const { bytesPerS, signal } = this.#options
    if (!bytesPerS) return
    const startMs = Math.max(performance.now(), this.#nextStartMs)
    this.#nextStartMs = startMs + (1_000 * sizeBytes) / bytesPerS
    await pause(startMs - performance.now(), signal)
  }

  #checkSignal(): void {
    if (this.#options.signal.aborted) throw cancelled()
  }
}

function isGone({ code }: TributaryError): boolean {
  return code === 'FILE_NOT_FOUND' || code === 'GENERATION_MISMATCH' || code === 'WRONG_GROUP'
}

/** By free space and the user's name: the same user gets the same group as long as the groups stay what they are. */
function preferredOf(user: string, targets: readonly Target[]): Target | undefined {
  let best: Target | undefined
  let bestScore = -Infinity
  for (const target of targets) {
    const hash = createHash('sha1').update(`${target.group}\0${user}`).digest().readUInt32BE(0)
    const score = Math.log((hash + 0.5) / 2 ** 32) / Math.max(1, target.freeBytes)
    if (score > bestScore) {
      best = target
      bestScore = score
    }
  }
  return best
}

/** @throws {CancelledError} */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw cancelled()
  if (ms <= 0) return
  await new Promise<void>(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
  if (signal.aborted) throw cancelled()
}

function cancelled(): TributaryError {
  return errorOf('CANCELLED', 'moving was interrupted; run it again to go on')
}
