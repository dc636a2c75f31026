/** What a scan of a container finds: tracks that can be packaged, and those that cannot, with the reason. */
import type { SampleTable } from './sample-table.ts'

export type TrackKind = 'video' | 'audio' | 'subtitle'
export type PackagedCodec = 'avc' | 'hevc' | 'vp9' | 'av1' | 'aac' | 'mp3' | 'opus' | 'flac'

export interface ScannedTrack {
  /** As the container numbers it. */
  id: number
  kind: 'video' | 'audio'
  /** Ticks per second. */
  timescale: number
  samples: SampleTable
  /** Media time at which the film begins, in ticks: what is before is decoded and not shown. Negative: the track begins late. */
  origin: number
  /** Children of the sample entry that describe the codec and the picture, as boxes; undefined: made from the codec's own description. */
  configuration: Uint8Array | undefined
  /** As it stands in the container: avcC, hvcC, AudioSpecificConfig, OpusHead, … */
  codecPrivate: Uint8Array | undefined
  /** Of an MP4: the type of its sample entry. */
  sampleEntryType: string | undefined
  /** tkhd's, of an MP4; nine numbers as 36 bytes. */
  matrix: Uint8Array | undefined
  /** Boxes that say how bright a picture of high dynamic range is; undefined: not said, or among `configuration`. */
  light: Uint8Array | undefined
  /** Why it cannot be packaged. */
  refusal: string | undefined
}

export interface ScannedFilm {
  tracks: ScannedTrack[]
  /** Of a film that is still arriving: bytes of it are missing. */
  incomplete: boolean
  /** Samples come one after another through the whole file: those of the end are not known before it is there. */
  openEnded: boolean
}

/** Whether there can be more of the film than the source has now. */
export interface ScanOptions {
  growing: boolean
}
