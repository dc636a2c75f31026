/** Where renditions are made: a folder that is this worker's alone, and empty when it starts. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, rmdir, statfs } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A worker whose parent was killed gives its jobs back and ends within this: whoever is started in its place waits for it. */
const PREDECESSOR_WAIT_MS = 12_000
const RETRY_MS = 100
/** Left alone of the file system: the rest of the machine lives there too. */
const RESERVE_BYTES = 256 * 1024 * 1024

export class TempFolder {
  readonly path: string
  /** The topmost folder that was not there before. */
  readonly #made: string | undefined
  readonly #lock: Server

  private constructor(path: string, made: string | undefined, lock: Server) {
    this.path = path
    this.#made = made
    this.#lock = lock
  }

  /**
   * Takes `parent/name`, and removes what an earlier worker of that name left there.
   *
   * @throws {Error} another worker has it; the folder cannot be made.
   */
  static async take(parent: string, name: string, waitMs = PREDECESSOR_WAIT_MS): Promise<TempFolder> {
    const path = join(parent, name)
    const lock = await lockOf(path, performance.now() + waitMs)
    let made: string | undefined
    try {
      made = await mkdir(path, { recursive: true, mode: 0o700 })
      for (const left of await readdir(path)) await rm(join(path, left), { recursive: true, force: true })
    } catch (error) {
      lock.close()
      throw error
    }
    return new TempFolder(path, made, lock)
  }

  /** A new folder for one job; whoever asks for it removes it. */
  folder(): Promise<string> {
    return mkdtemp(join(this.path, 'job-'))
  }

  /** Bytes that may be written. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path)
    return Math.max(0, bavail * bsize - RESERVE_BYTES)
  }

  async release(): Promise<void> {
    await rm(this.path, { recursive: true, force: true }).catch(() => {})
    // What was made is taken away, unless somebody else has it by now.
    for (let folder = this.path; this.#made !== undefined && folder !== this.#made;) {
      folder = dirname(folder)
      if (
        !(await rmdir(folder).then(
          () => true,
          () => false
        ))
      )
        break
    }
    const closed = once(this.#lock, 'close')
    this.#lock.close()
    await closed
  }
}

/** An abstract socket is a lock that the kernel takes back when its holder dies, however it dies. */
async function lockOf(path: string, untilMs: number): Promise<Server> {
  const digest = createHash('sha256').update(path).digest('hex')
  for (;;) {
    const server = createServer(socket => socket.destroy())
    server.listen(`\0tributary-worker-${digest}`)
    server.unref()
    try {
      await once(server, 'listening')
      return server
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
      if (performance.now() >= untilMs) {
        throw new Error(`another worker works in ${path}: give one of them another name`, { cause: error })
      }
    }
    await sleep(RETRY_MS)
  }
}
