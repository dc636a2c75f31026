/** Where a film is cut: on key frames of its picture, about six seconds apart, and its sound as near to there as can be. */
import type { PlacedTrack } from './timeline.ts'

export const SEGMENT_TARGET_S = 6
export const SEGMENT_S_MIN = 2
/** I-frame playlists have no more than a picture a second. */
const KEY_FRAME_GAP_S = 0.95
/** A rendition's key frame is where the original's is, but for rounding and half a picture. */
export const ALIGNMENT_S = 0.025

/** Samples of one segment: from `first` up to, not including, `end`. */
export interface Cut {
  first: number
  end: number
}

export interface PictureCuts {
  cuts: Cut[]
  /** When each segment begins on the film's clock, in ticks; the first at its first picture. */
  starts: number[]
  /** No picture of a segment needs one of another segment. */
  independent: boolean
}

/** @param wanted  seconds at which segments have to begin; default: wherever a key frame suits */
export function cutPicture(track: PlacedTrack, wanted?: readonly number[]): PictureCuts | undefined {
  const { samples, timescale, mediaStart } = track
  const keys: number[] = []
  for (let index = 0; index < samples.count; index++) if (samples.keys[index] !== 0) keys.push(index)
  const timeOf = (index: number): number => (samples.pts(index) - mediaStart) / timescale
  const firsts = wanted ? firstsAt(keys, timeOf, wanted) : firstsAbout(keys, timeOf)
  if (firsts === undefined) return undefined
  const cuts = firsts.map((first, index) => ({ first, end: firsts[index + 1] ?? samples.count }))
  const independent = cuts.every(({ first, end }, segment) => segment === 0 || isClosed(track, first, end))
  return { cuts, starts: firsts.map(first => samples.pts(first) - mediaStart), independent }
}

/** What is decided depends on the key frame after a segment at the most: a film that grows keeps its segments. */
function firstsAbout(keys: readonly number[], timeOf: (index: number) => number): number[] {
  const firsts = [keys[0]!]
  let startS = timeOf(keys[0]!)
  let before: number | undefined
  for (const key of keys.slice(1)) {
    for (;;) {
      const spanS = timeOf(key) - startS
      if (spanS < SEGMENT_TARGET_S) {
        if (spanS >= SEGMENT_S_MIN) before = key
        break
      }
      const beforeS = before === undefined ? 0 : timeOf(before) - startS
      const chosen =
        before !== undefined && SEGMENT_TARGET_S - beforeS < spanS - SEGMENT_TARGET_S ? before : key
      firsts.push(chosen)
      startS = timeOf(chosen)
      before = undefined
      if (chosen === key) break
    }
  }
  return firsts
}

function firstsAt(
  keys: readonly number[],
  timeOf: (index: number) => number,
  wanted: readonly number[]
): number[] | undefined {
  const firsts = [keys[0]!]
  let at = 1
  for (const second of wanted.slice(1)) {
    while (at < keys.length && timeOf(keys[at]!) < second - ALIGNMENT_S) at++
    const key = keys[at]
    if (key === undefined || timeOf(key) > second + ALIGNMENT_S) return undefined
    firsts.push(key)
    at++
  }
  return firsts
}

/** Pictures after the key frame, in decoding order, that are shown before it lean on what was before. */
function isClosed({ samples }: PlacedTrack, first: number, end: number): boolean {
  const key = samples.pts(first)
  for (let index = first + 1; index < end; index++) if (samples.pts(index) < key) return false
  return true
}

/**
 * Cuts a track whose samples all stand alone.
 *
 * @param boundaries  seconds at which segments begin; the first one takes everything before as well
 * @returns as many cuts as boundaries; an empty one where the track has nothing
 */
export function cutSound(
  { samples, timescale, mediaStart }: PlacedTrack,
  boundaries: readonly number[]
): Cut[] {
  const cuts: Cut[] = []
  let index = 0
  for (let segment = 0; segment < boundaries.length; segment++) {
    const first = index
    const next = boundaries[segment + 1]
    if (next === undefined) index = samples.count
    else {
      const limit = next - 0.5 / timescale
      while (index < samples.count && (samples.pts(index) - mediaStart) / timescale < limit) index++
    }
    cuts.push({ first, end: index })
  }
  return cuts
}

/** Seconds at which a film without a picture is cut. */
export function soundBoundaries({ samples, timescale, mediaStart }: PlacedTrack): number[] {
  const endS = (samples.pts(samples.count - 1) - mediaStart) / timescale
  const boundaries = [0]
  for (let second = SEGMENT_TARGET_S; second < endS; second += SEGMENT_TARGET_S) boundaries.push(second)
  return boundaries
}

/** Seconds at which the sound of a film goes on to be cut when its picture has ended. @param lastS  the last boundary of the picture */
export function boundariesBehind(tracks: readonly PlacedTrack[], lastS: number): number[] {
  const endOf = ({ samples, timescale, mediaStart }: PlacedTrack): number => {
    const last = samples.count - 1
    return (samples.pts(last) + samples.durations[last]! - mediaStart) / timescale
  }
  const pictures = tracks.filter(({ scanned: { kind } }) => kind === 'video')
  if (pictures.length === 0) return []
  const endS = Math.max(...tracks.map(endOf))
  const boundaries: number[] = []
  let second = Math.max(lastS + SEGMENT_TARGET_S, ...pictures.map(endOf))
  for (; second + SEGMENT_S_MIN < endS; second += SEGMENT_TARGET_S) boundaries.push(second)
  return boundaries
}

/** Samples of a segment that a player shows while it winds: key frames, a second apart or more. */
export function windingFrames({ samples, timescale }: PlacedTrack, cuts: readonly Cut[]): number[] {
  const frames: number[] = []
  let last = Number.NEGATIVE_INFINITY
  for (const { first, end } of cuts) {
    for (let index = first; index < end; index++) {
      if (samples.keys[index] === 0) continue
      const time = samples.pts(index) / timescale
      if (time - last < KEY_FRAME_GAP_S) continue
      frames.push(index)
      last = time
    }
  }
  return frames
}
