/** Silence before sound that begins late: MediaSource plays only where picture and sound are both there. */
import type { TrackFacts } from './film-facts.ts'
import { SAMPLES_MAX } from './sample-table.ts'
import type { PlacedTrack } from './timeline.ts'

const FRAME_SAMPLES = 1024

/**
 * A frame of AAC in which nothing is said of any band, ISO/IEC 14496-3 §4.4.2, by the number of channels: an element of one
 * or two channels, 4 and 44 bits of zeros in it, and the mark of the end.
 */
const FRAMES: Record<number, Uint8Array> = {
  1: Uint8Array.of(0, 0, 0, 0x07),
  2: Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0x0e)
}

/** Of AAC-LC with one or two channels, which nearly all films have; others stay as they are. */
export function fillBeginning({ samples, timescale, mediaStart }: PlacedTrack, facts: TrackFacts): void {
  const frame = FRAMES[facts.channels ?? 0]
  const { codec, sampleRate } = facts
  if (frame === undefined || codec !== 'mp4a.40.2' || !sampleRate || samples.count < 2) return
  const gap = samples.dts[0]! - mediaStart
  const ticks = (FRAME_SAMPLES * timescale) / sampleRate
  // Twice as long: its upper bands are made from the lower ones, and these frames would not fit.
  if (Math.abs(samples.durations[0]! - ticks) > 1) return
  const count = Math.floor(gap / ticks)
  if (count < 1 || samples.count + count > SAMPLES_MAX) return
  samples.insertSilence(frame, count, ticks)
}
