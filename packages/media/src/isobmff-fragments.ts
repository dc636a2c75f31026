/** Fragments of an MP4: `moof` boxes, one after another. ISO/IEC 14496-12 §8.8. */
import { damaged } from './errors.ts'
import { bodyView, childOf, childrenOf, safeU64, type Box } from './isobmff-boxes.ts'
import type { ScannedTrack } from './scanned-film.ts'

export interface TrackDefaults {
  description: number
  duration: number
  size: number
  flags: number
}

const NON_SYNC = 0x1_0000
const NO_DEFAULTS: TrackDefaults = { description: 1, duration: 0, size: 0, flags: 0 }

export class FragmentReader {
  readonly #tracks = new Map<number, ScannedTrack>()
  readonly #defaults: ReadonlyMap<number, TrackDefaults>
  /** Track → decoding time at which its next fragment begins, if it says nothing. */
  readonly #next = new Map<number, number>()

  constructor(tracks: readonly ScannedTrack[], defaults: ReadonlyMap<number, TrackDefaults>) {
    for (const track of tracks) {
      if (this.#tracks.has(track.id)) throw damaged(`two tracks have the number ${track.id}`)
      this.#tracks.set(track.id, track)
    }
    this.#defaults = defaults
  }

  /** @param moofStart  byte of the file at which the box begins: places count from there */
  read(moof: Uint8Array, moofStart: number): void {
    let dataEnd = moofStart
    for (const traf of childrenOf(moof)) {
      if (traf.type === 'traf') dataEnd = this.#readTrack(childrenOf(traf.body), moofStart, dataEnd)
    }
  }

  /** The last sample of a track has no successor from which its duration would follow. */
  finish(id: number): void {
    const samples = this.#tracks.get(id)?.samples
    if (!samples || samples.count < 2 || !this.#next.has(id)) return
    const last = samples.count - 1
    if (samples.durations[last] === 0) samples.durations[last] = samples.durations[last - 1]!
  }

  #readTrack(children: readonly Box[], moofStart: number, dataEnd: number): number {
    const tfhd = childOf(children, 'tfhd')
    if (tfhd === undefined) throw damaged('a fragment does not say of which track it is (tfhd)')
    const view = bodyView(tfhd, 8)
    const flags = view.getUint32(0) & 0xff_ffff
    const id = view.getUint32(4)
    const track = this.#tracks.get(id)
    let at = 8
    const field = (flag: number, bytes: number): number | undefined => {
      if ((flags & flag) === 0) return undefined
      const present = bodyView(tfhd, at + bytes)
      const value = bytes === 8 ? safeU64(present, at) : present.getUint32(at)
      at += bytes
      return value
    }
    const defaults = this.#defaults.get(id) ?? NO_DEFAULTS
    const base = field(0x1, 8) ?? ((flags & 0x2_0000) !== 0 ? moofStart : dataEnd)
    const description = field(0x2, 4) ?? defaults.description
    const duration = field(0x8, 4) ?? defaults.duration
    const size = field(0x10, 4) ?? defaults.size
    const sampleFlags = field(0x20, 4) ?? defaults.flags
    if (track && description > 1) track.refusal ??= 'its format changes in the middle'
    const tfdt = childOf(children, 'tfdt')
    let dts = this.#next.get(id)
    if (dts === undefined && track && track.samples.count > 0) {
      const last = track.samples.count - 1
      dts = track.samples.dts[last]! + track.samples.durations[last]!
    }
    if (tfdt) {
      const version = bodyView(tfdt, 8).getUint8(0)
      const begins = version === 1 ? safeU64(bodyView(tfdt, 12), 4) : bodyView(tfdt, 8).getUint32(4)
      if (track) stretchLast(track, begins)
      dts = begins
    }
    dts ??= 0
    let offset = base
    for (const trun of children) {
      if (trun.type !== 'trun') continue
      const run = readRun(trun, base, offset, { description, duration, size, flags: sampleFlags })
      offset = run.start
      for (const sample of run.samples()) {
        if (track && track.refusal === undefined) {
          const key = track.kind === 'audio' || (sample.flags & NON_SYNC) === 0
          track.samples.push(offset, sample.size, dts, sample.shift, sample.duration, key)
        }
        offset += sample.size
        dts += sample.duration
      }
    }
    this.#next.set(id, dts)
    return offset
  }
}

/** A gap between fragments is time in which the last picture stays. */
function stretchLast({ samples }: ScannedTrack, begins: number): void {
  const last = samples.count - 1
  if (last < 0) return
  const duration = begins - samples.dts[last]!
  if (duration < 0) throw damaged('the times of its fragments go backwards')
  if (duration <= 0xffff_ffff) samples.durations[last] = duration
}

interface RunSample {
  duration: number
  size: number
  flags: number
  shift: number
}

function readRun(
  trun: Box,
  base: number,
  follows: number,
  defaults: TrackDefaults
): { start: number; samples(): Generator<RunSample> } {
  const view = bodyView(trun, 8)
  const flags = view.getUint32(0) & 0xff_ffff
  const count = view.getUint32(4)
  let at = 8
  const head = (flag: number): number => {
    if ((flags & flag) === 0) return -1
    bodyView(trun, at + 4)
    at += 4
    return at - 4
  }
  const offsetAt = head(0x1)
  const firstAt = head(0x4)
  const start = offsetAt < 0 ? follows : base + view.getInt32(offsetAt)
  const fields = [0x100, 0x200, 0x400, 0x800].filter(flag => (flags & flag) !== 0).length
  const fits = fields === 0 ? count <= 100_000 : count <= (trun.body.byteLength - at) / (fields * 4)
  if (!fits || start < 0) throw damaged('the table trun is too short for what it says')
  return {
    start,
    *samples() {
      for (let index = 0; index < count; index++) {
        const sample = { ...defaults, shift: 0 }
        if (index === 0 && firstAt >= 0) sample.flags = view.getUint32(firstAt)
        if ((flags & 0x100) !== 0) sample.duration = view.getUint32(take())
        if ((flags & 0x200) !== 0) sample.size = view.getUint32(take())
        if ((flags & 0x400) !== 0) sample.flags = view.getUint32(take())
        if ((flags & 0x800) !== 0) sample.shift = view.getInt32(take())
        yield sample
      }
    }
  }
  function take(): number {
    at += 4
    return at - 4
  }
}
