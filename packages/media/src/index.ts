export { type ByteSource, type ReadBudget } from './byte-source.ts'
export { dashManifest } from './dash.ts'
export { UnpackageableError } from './errors.ts'
export { openFilm, type Film, type OpenOptions } from './film.ts'
export { type Container, type FilmFacts, type PictureColor, type TrackFacts } from './film-facts.ts'
export {
  bytesSource,
  cutSegment,
  FilmIndex,
  INDEX_VERSION,
  makeIndex,
  PACKAGING_VERSION,
  readIndex,
  type IndexHead,
  type IndexOptions,
  type IndexTrack,
  type SegmentPlan,
  type WindingFrames
} from './film-index.ts'
export { masterPlaylist, mediaPlaylist, subtitlePlaylist, windingPlaylist, type ListOptions } from './hls.ts'
export {
  HLS_LIST,
  INIT_SEGMENT,
  segmentName,
  WINDING_LIST,
  windingName,
  type AddressOptions,
  type PackagedFilm,
  type PackagedSource,
  type SubtitleTrack
} from './packaged-film.ts'
export { languageName } from './language.ts'
export { type Piece } from './sample-table.ts'
export { SEGMENT_TARGET_S } from './segmentation.ts'
export { readSubtitles, SUBTITLE_BYTES_MAX, subtitlesToWebVtt, webVtt, type Cue } from './webvtt.ts'
