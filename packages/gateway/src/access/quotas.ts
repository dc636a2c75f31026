/** How much may still be stored, known before the content of an upload is read. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import type { AccessCopy } from './access-copy.ts'

/** What is stored was reckoned so long ago at most; what this gateway took since is added. */
const FRESH_MS = 5_000
/** A reckoning that takes long is repeated less often: at most this part of the time is spent on it. */
const SHARE_OF_TIME = 20
const OWNERS_MAX = 2_000

interface Usage {
  files: number
  bytes: number
  atMs: number
  freshMs: number
}

/** Room that an upload in progress has for itself. */
export interface Reservation {
  /** Most bytes that it may have. */
  readonly roomBytes: number
  /** It came to its end. @param storedBytes  undefined: nothing was stored. */
  settle(storedBytes: number | undefined): void
}

const NOTHING = { files: 0, bytes: 0 }

export class Quotas {
  readonly #files: Pick<FileService, 'index'>
  readonly #copy: AccessCopy
  readonly #clock: Clock
  readonly #usage = new LRUCache<string, Usage>({ max: OWNERS_MAX })
  readonly #asking = new Map<string, Promise<Usage>>()
  /** Of uploads in progress at this gateway. */
  readonly #reserved = new Map<string, { files: number; bytes: number }>()

  constructor(files: Pick<FileService, 'index'>, copy: AccessCopy, clock: Clock) {
    this.#files = files
    this.#copy = copy
    this.#clock = clock
  }

  /**
   * Takes the room for another file of so many bytes, where there is a quota.
   *
   * @param sizeBytes  undefined: only its end will tell
   * @returns undefined: no quota says anything
   * @throws {HttpProblem} 413: it is larger than all that may be stored. 507: there is too little left.
   */
  async reserve(
    application: string,
    user: string,
    sizeBytes: number | undefined
  ): Promise<Reservation | undefined> {
    const quotas = this.#copy.rulesOf(application)?.quotas
    if (!quotas) return undefined
    const { bytesMax, filesMax, userBytesMax, userFilesMax } = quotas
    if (bytesMax + filesMax + userBytesMax + userFilesMax === 0) return undefined
    for (const [most, whose] of [
      [bytesMax, 'this application'],
      [userBytesMax, 'one user']
    ] as const) {
      if (most > 0 && sizeBytes !== undefined && sizeBytes > most) {
        throw new HttpProblem(413, `${whose} may store ${most} bytes in all`, [], 'QUOTA_EXCEEDED')
      }
    }
    let roomBytes = Infinity
    const keys: string[] = []
    for (const [most, mostFiles, owner, whose] of [
      [bytesMax, filesMax, undefined, 'of this application'],
      [userBytesMax, userFilesMax, user, 'of this user']
    ] as const) {
      if (most === 0 && mostFiles === 0) continue
      const key = keyOf(application, owner)
      keys.push(key)
      const usage = await this.#usageOf(key, application, owner)
      const reserved = this.#reserved.get(key) ?? NOTHING
      if (mostFiles > 0 && usage.files + reserved.files >= mostFiles) {
        throw full(
          `the quota ${whose} is ${mostFiles} files, and so many are stored; those in the trash count`
        )
      }
      if (most === 0) continue
      const leftBytes = Math.max(0, most - usage.bytes - reserved.bytes)
      roomBytes = Math.min(roomBytes, leftBytes)
      if (leftBytes === 0 || (sizeBytes !== undefined && sizeBytes > leftBytes)) {
        throw full(
          `the quota ${whose} is ${most} bytes, of which ${leftBytes} are left; what is in the trash counts`
        )
      }
    }
    for (const key of keys) this.#reserve(key, 1, sizeBytes ?? 0)
    let settled = false
    return {
      roomBytes,
      settle: storedBytes => {
        if (settled) return
        settled = true
        for (const key of keys) {
          this.#reserve(key, -1, -(sizeBytes ?? 0))
          const usage = this.#usage.get(key)
          if (!usage || storedBytes === undefined) continue
          usage.files++
          usage.bytes += storedBytes
        }
      }
    }
  }

  #reserve(key: string, files: number, bytes: number): void {
    const reserved = this.#reserved.get(key) ?? NOTHING
    const now = { files: reserved.files + files, bytes: reserved.bytes + bytes }
    if (now.files === 0) this.#reserved.delete(key)
    else this.#reserved.set(key, now)
  }

  async #usageOf(key: string, application: string, user: string | undefined): Promise<Usage> {
    const known = this.#usage.get(key)
    if (known && this.#clock.monotonicMs() - known.atMs < known.freshMs) return known
    let asking = this.#asking.get(key)
    if (!asking) {
      asking = this.#ask(key, application, user).finally(() => this.#asking.delete(key))
      this.#asking.set(key, asking)
    }
    return asking
  }

  async #ask(key: string, application: string, user: string | undefined): Promise<Usage> {
    const askedMs = this.#clock.monotonicMs()
    const { files, bytes } = await this.#files.index('library.usage', {
      application,
      ...(user !== undefined && { user })
    })
    const atMs = this.#clock.monotonicMs()
    const usage = {
      files,
      bytes,
      atMs,
      freshMs: Math.max(FRESH_MS, (atMs - askedMs) * SHARE_OF_TIME)
    }
    this.#usage.set(key, usage)
    return usage
  }
}

function keyOf(application: string, user: string | undefined): string {
  return user === undefined ? application : `${application}\0${user}`
}

function full(detail: string): HttpProblem {
  return new HttpProblem(507, detail, [], 'QUOTA_EXCEEDED')
}
