/** Numbers and contents that a printed seed brings back. */
import { randomInt } from 'node:crypto'

export class Random {
  readonly seed: number
  #state: number

  /** Without a seed: one of TRIBUTARY_SEED, else any. */
  constructor(seed = Number(process.env['TRIBUTARY_SEED'] ?? randomInt(2 ** 31))) {
    this.seed = seed
    this.#state = seed >>> 0
  }

  /** 0 … below - 1 (mulberry32). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
}

/** Sizes that matter: none, some, on both sides of what counts as small, and large. */
export function someSize(random: Random): number {
  const kind = random.below(20)
  if (kind === 0) return 0
  if (kind === 1) return 65_535 + random.below(3)
  if (kind < 4) return 70_000 + random.below(2_000_000)
  return 1 + random.below(kind < 8 ? 40_000 : 6_000)
}

const POOL_BYTES = 4 * 1024 * 1024
const pool = Buffer.alloc(POOL_BYTES)
const filler = new Random(1)
for (let at = 0; at < POOL_BYTES; at += 4) pool.writeUInt32LE(filler.below(2 ** 32), at)

/** Content that is some name's alone. */
export function contentOf(name: string, sizeBytes: number): Buffer {
  const label = Buffer.from(`${name}\n`.repeat(4))
  const start = (label.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7) % 65_536) * 8
  const content = Buffer.allocUnsafe(sizeBytes)
  for (let at = 0, from = start; at < sizeBytes; from = 0) at += pool.copy(content, at, from)
  for (let at = 0; at < sizeBytes; at += 4_096) label.copy(content, at)
  return content
}
