/** One clock for all tracks: where the film begins, and where each track stands on it. */
import { beyondLimits, unsupported } from './errors.ts'
import type { SampleTable } from './sample-table.ts'
import type { ScannedTrack } from './scanned-film.ts'

/** A week of surveillance is no film. */
const FILM_S_MAX = 7 * 24 * 3600

/** A track whose decoding times begin at 0 or later, in ticks of its own. */
export interface PlacedTrack {
  scanned: ScannedTrack
  timescale: number
  samples: SampleTable
  /** A sample is shown `mediaStart` ticks before its time in the segments says. */
  mediaStart: number
  /** Samples at the beginning that are there to decode others, and nobody sees. */
  unseen: number
}

/**
 * Puts the tracks on one clock, whose zero is when the first of them has something to show.
 * Samples before the first key frame are dropped, none is shown before it is decoded, and there is one from the first moment on. The tables are changed.
 */
export function placeTracks(tracks: readonly ScannedTrack[]): PlacedTrack[] {
  let startS = Number.POSITIVE_INFINITY
  let unseen = 0
  for (const { kind, samples, origin, timescale } of tracks) {
    let earliest = 0
    if (kind === 'video') {
      let first = 0
      while (first < samples.count && samples.keys[first] === 0) first++
      if (first === samples.count) throw unsupported('its picture has no key frame')
      samples.dropFirst(first)
      unseen = hurryUnseen(samples, origin)
      earliest = -unseen
      decodeEarlier(samples)
    }
    startS = Math.min(startS, Math.max(earliest, firstShown(samples) - origin) / timescale)
  }
  return tracks.map(scanned => {
    const { samples, timescale } = scanned
    const origin = scanned.origin + Math.round(startS * timescale)
    if (scanned.kind === 'video') showFirstAt(samples, origin)
    const mediaStart = Math.max(0, origin - samples.dts[0]!)
    const shift = mediaStart - origin
    for (let index = 0; index < samples.count; index++) samples.dts[index]! += shift
    const end = samples.pts(samples.count - 1) - mediaStart
    if (!(end >= -mediaStart && end <= FILM_S_MAX * timescale)) {
      throw beyondLimits(`a track of it lasts ${Math.round(end / timescale)} s`)
    }
    return { scanned, timescale, samples, mediaStart, unseen: scanned.kind === 'video' ? unseen : 0 }
  })
}

/**
 * A film that was cut without being coded anew begins between key frames: pictures from the key frame on are decoded, and what
 * is before `origin` is not shown. Browsers throw away what is before a film's beginning, and with a key frame everything up to
 * the next one. So those pictures pass within a tick each, right before `origin`, and what is before their key frame goes.
 *
 * @returns how many there are
 */
function hurryUnseen(samples: SampleTable, origin: number): number {
  let key = -1
  for (let index = 0; index < samples.count; index++) {
    if (samples.keys[index] !== 0 && samples.pts(index) < origin) key = index
  }
  if (key < 0) return 0
  samples.dropFirst(key)
  const { count, dts, shifts, durations } = samples
  const unseen: number[] = []
  for (let index = 0; index < count; index++) if (samples.pts(index) < origin) unseen.push(index)
  // What is decoded after the last of them keeps its times; a film of which nothing is seen keeps all.
  const after = unseen.at(-1)! + 1
  if (after === count) return 0
  const end = dts[after]!
  const times = new Map(
    unseen
      .toSorted((one, other) => samples.pts(one) - samples.pts(other))
      .map((index, rank) => [index, origin - unseen.length + rank] as const)
  )
  for (let index = 0; index < after; index++) {
    const shown = times.get(index) ?? samples.pts(index)
    dts[index] = end - after + index
    shifts[index] = shown - dts[index]!
    durations[index] = 1
  }
  return unseen.length
}

/** Cameras shift pictures back in time; players that are not Apple's then show them late, and the sound is ahead. */
function decodeEarlier({ count, dts, shifts }: SampleTable): void {
  let earliest = 0
  for (let index = 0; index < count; index++) earliest = Math.min(earliest, shifts[index]!)
  if (earliest === 0) return
  for (let index = 0; index < count; index++) {
    dts[index]! += earliest
    shifts[index]! -= earliest
  }
}

/**
 * Of a picture that begins late the first one stands until it moves: MediaSource plays only where picture and sound are both
 * there, and the film would begin there.
 */
function showFirstAt(samples: SampleTable, origin: number): void {
  const gap = samples.pts(0) - origin
  if (gap <= 0 || firstShown(samples) < samples.pts(0)) return
  samples.dts[0]! -= gap
  samples.durations[0]! += gap
}

/** The first pictures to be decoded are not always the first to be shown. */
function firstShown(samples: SampleTable): number {
  let first = samples.pts(0)
  for (let index = 1; index < samples.count && samples.keys[index] === 0; index++) {
    first = Math.min(first, samples.pts(index))
  }
  return first
}
