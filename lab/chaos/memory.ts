/** Memory of every process of a lab, over its whole life; and whether it grows without end. */

const MEBIBYTE = 1024 * 1024
const MINUTE_MS = 60_000

/** Between two looks. */
export const LOOK_EVERY_MS = 15_000
/** A process may hold so much more than the first of its kind at the beginning: caches fill, and allocators keep what a busy moment needed. */
const GROWTH_BYTES_MAX = 256 * MEBIBYTE
const GROWTH_FACTOR_MAX = 2
/** Who lived shorter has not even filled its caches. Its second half is looked at. */
const LIFE_MS_MIN = 3 * MINUTE_MS
const LOOKS_MIN = 6
/** Steady growth of the second half of a life: so much a minute is a leak, … */
const SLOPE_BYTES_MAX = 10 * MEBIBYTE
/** … unless it has not yet come to more than one busy moment may cost. */
const RISE_BYTES_MIN = 24 * MEBIBYTE

/**
 * Caches that the rendered configuration bounds, and that fill for as long as there is something new: MariaDB's buffer pool with Galera's write
 * sets, Redis's data, and what our servers remember. Within them growth is no leak.
 */
const CACHES: readonly (readonly [unit: RegExp, bytes: number])[] = [
  [/\/mariadb\.service$/, 512 * MEBIBYTE],
  [/\/redis-server\.service$/, 256 * MEBIBYTE],
  // What is remembered of files, and a heap that is collected only when there is need: a tracker settles 190 MiB above its start.
  [/\/tributary-/, 200 * MEBIBYTE]
]

/** One process at one moment. */
export interface ProcessMemory {
  /** `host/unit`, and `host/unit/worker` where it is not the unit's main process. */
  readonly name: string
  readonly pid: number
  /** Tells two processes apart that had the same pid. */
  readonly born: string
  readonly bytes: number
}

/** What is told of one process. */
export interface Life {
  readonly name: string
  readonly pid: number
  readonly livedMs: number
  /** Of that, while clients were busy. */
  readonly busyMs: number
  readonly looks: number
  readonly firstBytes: number
  readonly highestBytes: number
  readonly lastBytes: number
  /** Of the second half of its life, while clients were busy; undefined: too short to tell. */
  readonly bytesPerMinute: number | undefined
}

export interface MemoryReport {
  readonly lives: readonly Life[]
  /** Sentences; none where all is well. */
  readonly broken: readonly string[]
}

interface Look {
  readonly ms: number
  readonly bytes: number
}

interface Record {
  readonly name: string
  readonly pid: number
  readonly looks: Look[]
}

export class Memory {
  readonly #records = new Map<string, Record>()
  /** Of the first process seen under each name. */
  readonly #firstBytes = new Map<string, number>()
  #quietMs = Infinity

  look(ms: number, found: readonly ProcessMemory[]): void {
    for (const { name, pid, born, bytes } of found) {
      const key = `${name} ${pid} ${born}`
      const record = this.#records.get(key) ?? { name, pid, looks: [] }
      this.#records.set(key, record)
      record.looks.push({ ms, bytes })
      if (!this.#firstBytes.has(name)) this.#firstBytes.set(name, bytes)
    }
  }

  /** From now on clients do other things than before: growth is not judged by it. */
  quiet(ms: number): void {
    this.#quietMs = ms
  }

  report(): MemoryReport {
    const lives = [...this.#records.values()].map(record => this.#lifeOf(record))
    return { lives, broken: lives.flatMap(life => this.#judge(life)) }
  }

  #lifeOf({ name, pid, looks }: Record): Life {
    const [first, last] = [looks[0]!, looks.at(-1)!]
    const busy = looks.filter(({ ms }) => ms <= this.#quietMs)
    return {
      name,
      pid,
      livedMs: last.ms - first.ms,
      busyMs: Math.max(0, (busy.at(-1)?.ms ?? 0) - first.ms),
      looks: looks.length,
      firstBytes: first.bytes,
      highestBytes: Math.max(...looks.map(({ bytes }) => bytes)),
      lastBytes: last.bytes,
      bytesPerMinute: slopeOfSecondHalf(busy)
    }
  }

  #judge({ name, pid, busyMs, lastBytes, bytesPerMinute }: Life): string[] {
    const broken: string[] = []
    const from = this.#firstBytes.get(name)!
    if (lastBytes > from * GROWTH_FACTOR_MAX + GROWTH_BYTES_MAX)
      broken.push(`${name} grew from ${mebibytes(from)} to ${mebibytes(lastBytes)} MiB`)
    const riseBytes = ((bytesPerMinute ?? 0) * (busyMs / 2)) / MINUTE_MS
    const cacheBytes = CACHES.find(([unit]) => unit.test(name))?.[1] ?? 0
    const isCache = lastBytes <= from + cacheBytes
    if (
      !isCache &&
      bytesPerMinute !== undefined &&
      bytesPerMinute > SLOPE_BYTES_MAX &&
      riseBytes > RISE_BYTES_MIN
    )
      broken.push(
        `${name} (process ${pid}) grew by ${mebibytes(bytesPerMinute)} MiB a minute in the second half of its ${Math.round(busyMs / 1_000)} s`
      )
    return broken
  }
}

/**
 * Bytes a minute, of looks that are a quarter of the time apart: the middle one of them. A single leap is in a third of those at
 * most, and moves it not.
 */
function slopeOfSecondHalf(looks: readonly Look[]): number | undefined {
  const [first, last] = [looks[0], looks.at(-1)]
  if (!first || !last || last.ms - first.ms < LIFE_MS_MIN) return undefined
  const half = looks.filter(({ ms }) => ms >= (first.ms + last.ms) / 2)
  if (half.length < LOOKS_MIN) return undefined
  const apart = Math.floor(half.length / 4)
  const slopes = half
    .slice(apart)
    .map((to, at) => (to.bytes - half[at]!.bytes) / (to.ms - half[at]!.ms))
    .sort((a, b) => a - b)
  return slopes[Math.floor((slopes.length - 1) / 2)]! * MINUTE_MS
}

export const mebibytes = (bytes: number): number => Math.round(bytes / MEBIBYTE)
