/**
 * The file system under one store path. On a local one small calls are made synchronously (they hit the page cache,
 * and a hop to the thread pool costs more than they do); on any other, such as FUSE or NFS, every call goes to the
 * thread pool, so many at a time and with a deadline, so that one hung path can neither stop the process nor use up
 * the pool.
 */
import { statfs } from 'node:fs/promises'
import { TributaryError, UnavailableError } from '@tributary/protocol'

/** Threads that a worker's pool has (UV_THREADPOOL_SIZE); half of them are never left to non-local volumes. */
export const POOL_THREADS = 16
/** Calls in the thread pool for one non-local volume. More wait, until the deadline. */
export const REMOTE_CALLS_MAX = 4
/** Calls that may wait for one of those; more are refused at once. */
const REMOTE_QUEUE_MAX = 256
export const REMOTE_DEADLINE_MS = 5_000

/** Magic numbers of statfs(2) for file systems of this machine. */
const LOCAL_TYPES = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0x2fc12fc1, // zfs
  0xf2f52010, // f2fs
  0x794c7630 // overlayfs
])

export interface Space {
  freeBytes: number
  totalBytes: number
}

export class Volume {
  readonly root: string
  readonly local: boolean
  readonly #deadlineMs: number
  readonly #callsMax: number
  readonly #waiting: (() => void)[] = []
  readonly #chores: (() => Promise<unknown>)[] = []
  #calls = 0
  #isTidying = false

  private constructor(root: string, local: boolean, deadlineMs: number, callsMax: number) {
    this.root = root
    this.local = local
    this.#deadlineMs = deadlineMs
    this.#callsMax = callsMax
  }

  /** One call at a time on a path of which nothing is known yet. */
  static probe(root: string, deadlineMs = REMOTE_DEADLINE_MS): Volume {
    return new Volume(root, false, deadlineMs, 1)
  }

  /**
   * Finds out what is under `root`.
   *
   * @param callsMax Share of the thread pool, should it not be local.
   * @param probe From `Volume.probe`, for who tries again and again: a try that hangs costs one thread, and not one each.
   * @throws {UnavailableError} STORE_UNAVAILABLE: it does not answer.
   */
  static async open(
    root: string,
    deadlineMs = REMOTE_DEADLINE_MS,
    callsMax = REMOTE_CALLS_MAX,
    probe = Volume.probe(root, deadlineMs)
  ): Promise<Volume> {
    const { type } = await probe.run('statfs', () => statfs(root))
    return new Volume(root, LOCAL_TYPES.has(type), deadlineMs, callsMax)
  }

  /**
   * Makes one call on the volume. A call that hangs keeps its place until it returns; its caller is told at the
   * deadline.
   *
   * @throws {UnavailableError} STORE_UNAVAILABLE: the deadline passed, or too many calls hang already.
   */
  async run<T>(what: string, call: () => Promise<T>): Promise<T> {
    if (this.local) return call()
    const endMs = performance.now() + this.#deadlineMs
    if (this.#calls < this.#callsMax) this.#calls++
    else await this.#turn(what, endMs)
    const done = call().finally(() => this.#pass())
    return withDeadline(done, endMs - performance.now(), () => this.#hangs(what))
  }

  /**
   * Does something that has to be done some time, such as closing a file or removing a name, even if the volume hangs
   * now: one chore at a time, without a deadline. Every chore stands for something that was opened, so that there are
   * only so many. Failures are nobody's concern.
   */
  chore(call: () => Promise<unknown>): void {
    this.#chores.push(call)
    if (!this.#isTidying) void this.#tidy()
  }

  /** Chores not done yet. */
  get choresLeft(): number {
    return this.#chores.length + (this.#isTidying ? 1 : 0)
  }

  async #tidy(): Promise<void> {
    this.#isTidying = true
    for (let chore = this.#chores.shift(); chore; chore = this.#chores.shift()) await chore().catch(() => {})
    this.#isTidying = false
  }

  /** Free space as the file system counts it for ordinary users. */
  async space(): Promise<Space> {
    const { bavail, blocks, bsize } = await this.run('statfs', () => statfs(this.root))
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  }

  async #turn(what: string, endMs: number): Promise<void> {
    if (this.#waiting.length >= REMOTE_QUEUE_MAX) throw this.#hangs(what)
    let wake: () => void = () => {}
    const turn = new Promise<void>(resolve => {
      wake = resolve
    })
    this.#waiting.push(wake)
    await withDeadline(turn, endMs - performance.now(), () => {
      const at = this.#waiting.indexOf(wake)
      if (at >= 0) this.#waiting.splice(at, 1)
      else this.#pass() // woken in the same moment
      return this.#hangs(what)
    })
  }

  /** Hands a place to the next who waits: it is never free in between, where a newcomer could take it as well. */
  #pass(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#calls--
  }

  #hangs(what: string): UnavailableError {
    return new UnavailableError('STORE_UNAVAILABLE', `the volume does not answer (${what})`)
  }
}

function withDeadline<T>(promise: Promise<T>, timeoutMs: number, onLate: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(onLate()), Math.max(0, timeoutMs))
    promise.then(
      value => {
        clearTimeout(timer)
        resolve(value)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    )
  })
}

/** What a failed call on a store means to the peer whose request needed it. */
export function storeError(error: unknown, what: string): TributaryError {
  if (error instanceof TributaryError) return error
  const code = (error as NodeJS.ErrnoException).code ?? ''
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new UnavailableError('NO_SPACE', `no space left for ${what}`, { cause: error })
  }
  return new UnavailableError('STORE_UNAVAILABLE', `${what} failed: ${code || String(error)}`, {
    cause: error
  })
}
