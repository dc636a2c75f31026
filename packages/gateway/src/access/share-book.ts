/** Share links: found at the trackers, remembered for a moment, opened with a password where they have one. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { OpenableShare } from '@tributary/calls'
import { signFilm } from '@tributary/client'
import { RejectedError } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { STALE_READ_MS_MAX } from './access-copy.ts'

/** What is known of a share is believed for so long: one that was revoked is dead after it. */
const FRESH_MS = 3_000
const SHARES_MAX = 5_000
const ASK_WAIT_MS = 3_000
/** Cost of a password: some 50 ms and 32 MiB. */
const SCRYPT = { N: 32_768, r: 8, p: 1, maxmem: 64 * 1024 * 1024 } as const
const SALT_BYTES = 16
const HASH_BYTES = 32
const HASH_TEXT = /^scrypt:(\d{1,7}):(\d{1,2}):(\d{1,2}):([0-9a-f]{32}):([0-9a-f]{64})$/
/** Ids of shares are as long as this; those of signing keys are shorter. */
export const SHARE_ID_CHARACTERS = 16
/** Passwords that are tried at a time, each of which takes its memory; more wait their turn. */
const TRIES_MAX = 2
/** More than so many do not wait: they are told to come back. */
const WAITING_MAX = 100

/** What opening a share gives is good for so long, and then the share is opened again. */
const SIGNATURE_MS = 12 * 3_600_000
const SHARE_ID = new RegExp(`^[a-z0-9]{${SHARE_ID_CHARACTERS}}$`)

export function isShareId(text: string): boolean {
  return SHARE_ID.test(text)
}

/** Signed with the share's own key, so that it ends when the share does. */
export function signatureOfShare(
  { share, secret }: OpenableShare,
  nowMs: number
): { signature: string; expiresS: number } {
  const { id, application, user, file } = share
  const latestMs = nowMs + SIGNATURE_MS
  const endMs = share.expiresAtMs === 0 ? latestMs : Math.min(latestMs, share.expiresAtMs)
  const expiresS = Math.ceil(endMs / 1_000)
  const network = share.network === '' ? undefined : share.network
  const film = { application, user, file }
  return { signature: signFilm({ id, secret }, { film, expiresS, network }), expiresS }
}

interface Known {
  /** undefined: there is none of that id. */
  share: OpenableShare | undefined
  atMs: number
}

export class ShareBook {
  readonly #files: Pick<FileService, 'index'>
  readonly #clock: Clock
  readonly #known = new LRUCache<string, Known>({ max: SHARES_MAX })
  readonly #asking = new Map<string, Promise<OpenableShare | undefined>>()
  readonly #waiting: (() => void)[] = []
  #tries = 0

  constructor(files: Pick<FileService, 'index'>, clock: Clock) {
    this.#files = files
    this.#clock = clock
  }

  /** A share that can be used. While the trackers are away, one that was known is. */
  async find(id: string): Promise<OpenableShare | undefined> {
    const nowMs = this.#clock.monotonicMs()
    const known = this.#known.get(id)
    if (known && nowMs - known.atMs < FRESH_MS) return this.#ifGood(known.share)
    let asking = this.#asking.get(id)
    if (!asking) {
      asking = this.#ask(id, known).finally(() => this.#asking.delete(id))
      this.#asking.set(id, asking)
    }
    return this.#ifGood(await asking)
  }

  forget(id: string): void {
    this.#known.delete(id)
  }

  async #ask(id: string, known: Known | undefined): Promise<OpenableShare | undefined> {
    const atMs = this.#clock.monotonicMs()
    let share: OpenableShare | undefined
    try {
      share = await this.#files.index('shares.find', { id }, { signal: AbortSignal.timeout(ASK_WAIT_MS) })
    } catch (error) {
      if (!(error instanceof RejectedError && error.code === 'NO_SUCH_ENTRY')) {
        if (known && atMs - known.atMs < STALE_READ_MS_MAX) return known.share
        throw error
      }
    }
    this.#known.set(id, { share, atMs })
    return share
  }

  #ifGood(found: OpenableShare | undefined): OpenableShare | undefined {
    if (!found || found.share.revokedAtMs > 0) return undefined
    const { expiresAtMs } = found.share
    return expiresAtMs === 0 || expiresAtMs > this.#clock.nowMs() ? found : undefined
  }

  /** @returns `scrypt:N:r:p:salt:hash` */
  async hashPassword(password: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES)
    const { N, r, p } = SCRYPT
    const hash = await this.#scrypt(password, salt, SCRYPT)
    return `scrypt:${N}:${r}:${p}:${salt.toString('hex')}:${hash.toString('hex')}`
  }

  async isPassword(password: string, passwordHash: string): Promise<boolean> {
    const [, N, r, p, salt, hash] = HASH_TEXT.exec(passwordHash) ?? []
    if (salt === undefined || hash === undefined) return false
    const cost = { N: Number(N), r: Number(r), p: Number(p), maxmem: SCRYPT.maxmem }
    return timingSafeEqual(
      await this.#scrypt(password, Buffer.from(salt, 'hex'), cost),
      Buffer.from(hash, 'hex')
    )
  }

  async #scrypt(
    password: string,
    salt: Buffer,
    cost: { N: number; r: number; p: number; maxmem: number }
  ): Promise<Buffer> {
    if (this.#waiting.length >= WAITING_MAX) {
      throw new HttpProblem(503, 'too many passwords are being tried', ['Retry-After', '5'], 'OVERLOADED')
    }
    if (this.#tries >= TRIES_MAX) await new Promise<void>(resolve => this.#waiting.push(resolve))
    this.#tries++
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        // One password may be written in two ways, which nobody sees: accents together or apart.
        scrypt(password.normalize('NFC'), salt, HASH_BYTES, cost, (error, key) =>
          error ? reject(error) : resolve(key)
        )
      })
    } finally {
      this.#tries--
      this.#waiting.shift()?.()
    }
  }
}
