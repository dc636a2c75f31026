/** How much may still be stored, known before the content of an upload is read. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import type { AccessCopy } from './access-copy.ts'

/** What is stored was reckoned so long ago at most; what this gateway took since is added. */
const FRESH_MS = 5_000
/** One that takes long is repeated less often: at most this part of the time is spent on it. */
const SHARE_OF_TIME = 20
const OWNERS_MAX = 2_000
/** Uploads that begin at the same moment are decided within this. */
const DECIDED_MS = 1_000
const LOOK_AGAIN_MS = 50

interface Usage {
  files: number
  bytes: number
  atMs: number
  /** It took so long. */
  costMs: number
}

/** Room that an upload in progress has for itself. */
export interface Reservation {
  /** Most bytes that it may have. */
  readonly roomBytes: number
  /** It came to its end. @param storedBytes  undefined: nothing was stored. */
  settle(storedBytes: number | undefined): void
}

interface ResumableUpload {
  application: string
  user: string
  sizeBytes: number
}

interface BegunUpload extends ResumableUpload {
  id: string
  /** Uploads that it is joined of. */
  joins: readonly string[]
}

/** A quota that says something, and what there is of it. */
interface Bound {
  key: string
  bytesMax: number
  filesMax: number
  whose: string
  stored: Usage
  promised: { files: number; bytes: number }
}

const ALSO_COUNTS = 'what is in the trash counts, and what uploads under way will need'
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
    const bounds = await this.#boundsOf(application, user, {}, FRESH_MS)
    if (bounds.length === 0) return undefined
    // From here to the reservation nothing is waited for: who asks at the same time finds it.
    const roomBytes = this.#roomIn(bounds, sizeBytes)
    for (const { key } of bounds) this.#reserve(key, 1, sizeBytes ?? 0)
    let settled = false
    return {
      roomBytes,
      settle: storedBytes => {
        if (settled) return
        settled = true
        for (const { key } of bounds) {
          this.#reserve(key, -1, -(sizeBytes ?? 0))
          if (storedBytes !== undefined) this.#count(key, storedBytes)
        }
      }
    }
  }

  /**
   * Whether there is room for a resumable upload. The index knows what each was promised, so nothing is kept of it here; as it
   * may go on for days, what is stored is reckoned now, as far as SHARE_OF_TIME allows.
   *
   * @param beside  which others count. `except`: it is new, and joined of these. `before`: it has begun, under this id; those
   *   that began later do not count, so that of two that have no room together one goes on, whichever gateways they come through.
   * @throws {HttpProblem} as `reserve`
   */
  async check(
    { application, user, sizeBytes }: ResumableUpload,
    beside: { except: readonly string[] } | { before: string }
  ): Promise<void> {
    const bounds = await this.#boundsOf(application, user, beside, 0)
    this.#roomIn(bounds, sizeBytes)
  }

  /**
   * Whether an upload that is in the index since a moment ago may stay there: of those that were begun together and have no room
   * together, at most one.
   *
   * The time that an upload bears is older than its row, so that one begun earlier may come to the index later: whoever was
   * asked in between did not know of it, and stays. Thus all others count, at first. Those begun later that know of this one
   * are refused, and gone soon: whether it is so is waited for, up to DECIDED_MS.
   *
   * @throws {HttpProblem} as `reserve`
   */
  async admit(upload: BegunUpload): Promise<void> {
    const { id, joins } = upload
    const untilMs = this.#clock.monotonicMs() + DECIDED_MS
    for (;;) {
      try {
        await this.check(upload, { except: [id, ...joins] })
        return
      } catch (error) {
        if (this.#clock.monotonicMs() >= untilMs) throw error
        await this.check(upload, { before: id })
        await this.#clock.sleep(LOOK_AGAIN_MS)
      }
    }
  }

  /** What had been promised is stored: it counts from now on, before it is reckoned anew. */
  noteStored({ application, user, sizeBytes }: ResumableUpload): void {
    for (const owner of [undefined, user]) this.#count(keyOf(application, owner), sizeBytes)
  }

  async #boundsOf(
    application: string,
    user: string,
    { except, ...beside }: { before?: string; except?: readonly string[] },
    freshMs: number
  ): Promise<Bound[]> {
    const quotas = this.#copy.rulesOf(application)?.quotas
    if (!quotas) return []
    const { bytesMax, filesMax, userBytesMax, userFilesMax } = quotas
    const others = { ...beside, ...(except !== undefined && { except: [...except] }) }
    const bounds = [
      { bytesMax, filesMax, owner: undefined, whose: 'this application' },
      { bytesMax: userBytesMax, filesMax: userFilesMax, owner: user, whose: 'this user' }
    ].filter(bound => bound.bytesMax > 0 || bound.filesMax > 0)
    return Promise.all(
      bounds.map(async ({ owner, ...bound }) => {
        const key = keyOf(application, owner)
        const scope = { application, ...(owner !== undefined && { user: owner }) }
        // What is promised is asked first: what is stored meanwhile counts twice, rather than not at all.
        const waiting = await this.#files.index('uploads.promised', { ...scope, ...others })
        const stored = await this.#usageOf(key, application, owner, freshMs)
        return { ...bound, key, stored, promised: waiting }
      })
    )
  }

  /** @returns how many bytes there is room for. @throws {HttpProblem} 413, 507 */
  #roomIn(bounds: readonly Bound[], sizeBytes: number | undefined): number {
    let roomBytes = Infinity
    for (const { bytesMax, whose } of bounds) {
      if (bytesMax > 0 && sizeBytes !== undefined && sizeBytes > bytesMax) {
        throw new HttpProblem(413, `${whose} may store ${bytesMax} bytes in all`, [], 'QUOTA_EXCEEDED')
      }
    }
    for (const { key, bytesMax, filesMax, whose, stored, promised } of bounds) {
      const reserved = this.#reserved.get(key) ?? NOTHING
      if (filesMax > 0 && stored.files + promised.files + reserved.files >= filesMax) {
        throw full(`the quota of ${whose} is ${filesMax} files, and there are so many; ${ALSO_COUNTS}`)
      }
      if (bytesMax === 0) continue
      const leftBytes = Math.max(0, bytesMax - stored.bytes - promised.bytes - reserved.bytes)
      roomBytes = Math.min(roomBytes, leftBytes)
      if (leftBytes === 0 || (sizeBytes !== undefined && sizeBytes > leftBytes)) {
        throw full(
          `the quota of ${whose} is ${bytesMax} bytes, of which ${leftBytes} are left; ${ALSO_COUNTS}`
        )
      }
    }
    return roomBytes
  }

  #count(key: string, storedBytes: number): void {
    const usage = this.#usage.get(key)
    if (!usage) return
    usage.files++
    usage.bytes += storedBytes
  }

  #reserve(key: string, files: number, bytes: number): void {
    const reserved = this.#reserved.get(key) ?? NOTHING
    const now = { files: reserved.files + files, bytes: reserved.bytes + bytes }
    if (now.files === 0) this.#reserved.delete(key)
    else this.#reserved.set(key, now)
  }

  async #usageOf(
    key: string,
    application: string,
    user: string | undefined,
    freshMs: number
  ): Promise<Usage> {
    const known = this.#usage.get(key)
    if (known) {
      const ageMs = this.#clock.monotonicMs() - known.atMs
      if (ageMs < Math.max(freshMs, known.costMs * SHARE_OF_TIME)) return known
    }
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
    const usage = { files, bytes, atMs, costMs: atMs - askedMs }
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
