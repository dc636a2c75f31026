/** Where the bytes of a film come from, and how many of them one look at it may cost. */
import { beyondLimits, damaged } from './errors.ts'

/** A stored file, or the part of one that has arrived. */
export interface ByteSource {
  readonly sizeBytes: number
  /**
   * @param start  first byte, 0 … sizeBytes
   * @param end    after the last byte; at most sizeBytes
   * @returns exactly `end - start` bytes, which the caller does not write to
   */
  read(start: number, end: number): Promise<Uint8Array>
}

/** What looking through a film may cost. */
export interface ReadBudget {
  /** Bytes read in all; blocks that are read twice count twice. */
  readBytesMax: number
  /** Milliseconds from the first read on. */
  timeMs: number
}

/** Scans read far ahead, look-ups here and there: one block serves both. */
const BLOCK_BYTES = 1024 * 1024
const BLOCKS_MAX = 12
const LOOKS_MASK = 63

/** Blocks of a source, a few kept, and a count of what was spent. */
export class BudgetedSource implements ByteSource {
  readonly sizeBytes: number
  readonly #source: ByteSource
  readonly #budget: ReadBudget
  readonly #nowMs: () => number
  readonly #blocks = new Map<number, Promise<Uint8Array> | Uint8Array>()
  #readBytes = 0
  #looks = 0
  #timeMs: number
  #deadlineMs: number | undefined

  constructor(source: ByteSource, budget: ReadBudget, nowMs: () => number = () => performance.now()) {
    this.sizeBytes = source.sizeBytes
    this.#source = source
    this.#budget = budget
    this.#nowMs = nowMs
    this.#timeMs = budget.timeMs
  }

  get readBytes(): number {
    return this.#readBytes
  }

  /** @throws {UnpackageableError} damaged: the range does not lie in the file; beyond-limits: the budget is spent. */
  read(start: number, end: number): Promise<Uint8Array> {
    const bytes = this.view(start, end)
    return bytes instanceof Uint8Array ? Promise.resolve(bytes) : bytes
  }

  /** As `read`; what is at hand comes without a wait. */
  view(start: number, end: number): Uint8Array | Promise<Uint8Array> {
    // A clock costs more than a look at a block: time is told now and then.
    if ((++this.#looks & LOOKS_MASK) === 0) this.#checkTime()
    if (!(start >= 0 && start <= end && end <= this.sizeBytes)) {
      throw damaged(`it ends at byte ${this.sizeBytes}, and something is said to lie at ${start} to ${end}`)
    }
    const first = Math.floor(start / BLOCK_BYTES)
    const block = this.#blocks.get(first)
    if (block instanceof Uint8Array && end <= first * BLOCK_BYTES + block.byteLength) {
      return block.subarray(start - first * BLOCK_BYTES, end - first * BLOCK_BYTES)
    }
    return this.#gather(start, end)
  }

  async #gather(start: number, end: number): Promise<Uint8Array> {
    if (start === end) return new Uint8Array(0)
    const first = Math.floor(start / BLOCK_BYTES)
    const last = Math.floor((end - 1) / BLOCK_BYTES)
    if (first === last) {
      const block = await this.#block(first)
      return block.subarray(start - first * BLOCK_BYTES, end - first * BLOCK_BYTES)
    }
    if (last - first >= BLOCKS_MAX) return this.#spend(start, end)
    const gathered = new Uint8Array(end - start)
    for (let index = first; index <= last; index++) {
      const block = await this.#block(index)
      const at = index * BLOCK_BYTES
      const from = Math.max(start, at)
      gathered.set(block.subarray(from - at, Math.min(end - at, block.byteLength)), from - start)
    }
    return gathered
  }

  async #block(index: number): Promise<Uint8Array> {
    const known = this.#blocks.get(index)
    if (known !== undefined) {
      this.#blocks.delete(index)
      this.#blocks.set(index, known)
      return known
    }
    const start = index * BLOCK_BYTES
    const reading = this.#spend(start, Math.min(start + BLOCK_BYTES, this.sizeBytes))
    this.#blocks.set(index, reading)
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= BLOCKS_MAX) break
      this.#blocks.delete(oldest)
    }
    try {
      const block = await reading
      if (this.#blocks.get(index) === reading) this.#blocks.set(index, block)
      return block
    } catch (error) {
      this.#blocks.delete(index)
      throw error
    }
  }

  /** The time allowed begins anew: what was looked for is found, and something else is done. */
  restartClock(timeMs: number): void {
    this.#timeMs = timeMs
    this.#deadlineMs = undefined
  }

  #checkTime(): void {
    const now = this.#nowMs()
    this.#deadlineMs ??= now + this.#timeMs
    if (now > this.#deadlineMs) throw beyondLimits(`it could not be understood within ${this.#timeMs} ms`)
  }

  async #spend(start: number, end: number): Promise<Uint8Array> {
    const { readBytesMax } = this.#budget
    this.#readBytes += end - start
    if (this.#readBytes > readBytesMax) {
      throw beyondLimits(`more than ${readBytesMax} bytes would have to be read to understand it`)
    }
    this.#checkTime()
    const bytes = await this.#source.read(start, end)
    if (bytes.byteLength !== end - start) throw damaged('it is shorter than it was said to be')
    return bytes
  }
}
