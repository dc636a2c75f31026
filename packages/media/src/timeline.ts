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
}

/**
 * Puts the tracks on one clock, whose zero is when the first of them has something to show.
 * Samples before the first key frame are dropped. The tables are changed.
 */
export function placeTracks(tracks: readonly ScannedTrack[]): PlacedTrack[] {
  let startS = Number.POSITIVE_INFINITY
  for (const { kind, samples, origin, timescale } of tracks) {
    if (kind === 'video') {
      let first = 0
      while (first < samples.count && samples.keys[first] === 0) first++
      if (first === samples.count) throw unsupported('its picture has no key frame')
      samples.dropFirst(first)
    }
    startS = Math.min(startS, Math.max(0, (firstShown(samples) - origin) / timescale))
  }
  return tracks.map(scanned => {
    const { samples, timescale } = scanned
    const origin = scanned.origin + Math.round(startS * timescale)
    const mediaStart = Math.max(0, origin - samples.dts[0]!)
    const shift = mediaStart - origin
    for (let index = 0; index < samples.count; index++) samples.dts[index]! += shift
    const end = samples.pts(samples.count - 1) - mediaStart
    if (!(end >= -mediaStart && end <= FILM_S_MAX * timescale)) {
      throw beyondLimits(`a track of it lasts ${Math.round(end / timescale)} s`)
    }
    return { scanned, timescale, samples, mediaStart }
  })
}

/** The first pictures to be decoded are not always the first to be shown. */
function firstShown(samples: SampleTable): number {
  let first = samples.pts(0)
  for (let index = 1; index < samples.count && samples.keys[index] === 0; index++) {
    first = Math.min(first, samples.pts(index))
  }
  return first
}
