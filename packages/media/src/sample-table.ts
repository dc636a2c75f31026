/** Every sample of a track: where its bytes are, when it is decoded and shown. Columns, as films have a million of them. */
import { beyondLimits } from './errors.ts'

/** Samples of one track; 10 hours at 60 pictures a second are 2.2 million. */
export const SAMPLES_MAX = 4_000_000
export const SAMPLE_BYTES_MAX = 0x3fff_ffff

export interface Piece {
  start: number
  lengthBytes: number
}

const FIRST_ROOM = 1024

/** Samples that are not in the film, all alike, before all others. */
export interface Silence {
  frame: Uint8Array
  count: number
}

export class SampleTable {
  count = 0
  /** Byte of the file at which the sample begins; of one in several pieces, the first. */
  offsets = new Float64Array(FIRST_ROOM)
  sizes = new Uint32Array(FIRST_ROOM)
  /** Decoding time, in ticks. */
  dts = new Float64Array(FIRST_ROOM)
  /** What is added to the decoding time to have the time of showing. */
  shifts = new Int32Array(FIRST_ROOM)
  durations = new Uint32Array(FIRST_ROOM)
  keys = new Uint8Array(FIRST_ROOM)
  /** Bytes of the film that go before those of each sample, and count as its own: an MKV keeps what all begin with once. */
  front: Piece | undefined
  silence: Silence | undefined
  /** Samples whose bytes do not lie together: all their pieces. Ogg cuts them at its pages. */
  readonly pieces = new Map<number, Piece[]>()

  /** @throws {UnpackageableError} there are too many of them. */
  push(offset: number, size: number, dts: number, shift: number, duration: number, key: boolean): void {
    const at = this.count
    if (at === SAMPLES_MAX) throw beyondLimits(`a track has more than ${SAMPLES_MAX} samples`)
    if (size > SAMPLE_BYTES_MAX) throw beyondLimits(`a sample has ${size} bytes`)
    if (at === this.sizes.length) this.#grow()
    this.offsets[at] = offset
    this.sizes[at] = size
    this.dts[at] = dts
    this.shifts[at] = shift
    this.durations[at] = duration
    this.keys[at] = key ? 1 : 0
    this.count = at + 1
  }

  pts(index: number): number {
    return this.dts[index]! + this.shifts[index]!
  }

  /** Without the first `count` samples. */
  dropFirst(count: number): void {
    if (count === 0) return
    for (const column of ['offsets', 'sizes', 'dts', 'shifts', 'durations', 'keys'] as const) {
      this[column].copyWithin(0, count, this.count)
    }
    this.count -= count
    this.#movePieces(-count)
  }

  /** Puts samples before the first one, each right before the next. @param ticks  of one; not always a whole number */
  insertSilence(frame: Uint8Array, count: number, ticks: number): void {
    while (this.count + count > this.sizes.length) this.#grow()
    for (const column of ['offsets', 'sizes', 'dts', 'shifts', 'durations', 'keys'] as const) {
      this[column].copyWithin(count, 0, this.count)
    }
    const end = this.dts[count]!
    const begins = (index: number): number => end - Math.round((count - index) * ticks)
    for (let index = 0; index < count; index++) {
      this.offsets[index] = 0
      this.sizes[index] = frame.byteLength
      this.dts[index] = begins(index)
      this.shifts[index] = 0
      this.durations[index] = begins(index + 1) - begins(index)
      this.keys[index] = 1
    }
    this.count += count
    this.#movePieces(count)
    this.silence = { frame, count }
  }

  #movePieces(by: number): void {
    const moved = [...this.pieces].filter(([index]) => index + by >= 0)
    this.pieces.clear()
    for (const [index, pieces] of moved) this.pieces.set(index + by, pieces)
  }

  #grow(): void {
    const room = this.sizes.length * 2
    this.offsets = grown(this.offsets, new Float64Array(room))
    this.sizes = grown(this.sizes, new Uint32Array(room))
    this.dts = grown(this.dts, new Float64Array(room))
    this.shifts = grown(this.shifts, new Int32Array(room))
    this.durations = grown(this.durations, new Uint32Array(room))
    this.keys = grown(this.keys, new Uint8Array(room))
  }
}

function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from)
  return to
}
