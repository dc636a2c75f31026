/** How ffmpeg is given a film: by HTTP from this worker, as the kind of container that it was found to be, and nothing else. */
import type { FilmFacts } from '@tributary/media'
import { ffmpegOptions } from './ffmpeg-options.ts'

/** By our name of a container: the one demuxer that may read it. Playlists and everything that names other files are not there. */
const DEMUXERS: Record<FilmFacts['container'], string | undefined> = {
  mp4: 'mov',
  mov: 'mov',
  mkv: 'matroska',
  webm: 'matroska',
  ts: 'mpegts',
  ogg: 'ogg',
  mp3: undefined,
  flac: undefined,
  wav: undefined,
  aac: undefined
}
/** A silence of the film's source of so long, in microseconds, ends the run. */
const READ_TIMEOUT_US = 120_000_000
/** Bytes and microseconds that it may look at before it knows the tracks. */
const PROBE_BYTES = 20_000_000
const PROBE_US = 10_000_000
/** Decoders of what browsers play, and of what people have beside it. */
const DECODERS = [
  'h264,hevc,vp8,vp9,libdav1d,libaom-av1,av1,mpeg4,mpeg2video,mpeg1video,prores,mjpeg,theora',
  'aac,mp3,mp3float,mp2,opus,libopus,vorbis,flac,alac,ac3,eac3,dca,truehd',
  'pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_f32le'
].join(',')

/** undefined: of such a file no picture is made. */
export function demuxerOf({ container }: Pick<FilmFacts, 'container'>): string | undefined {
  return DEMUXERS[container]
}

/** @param before options that have to stand before the input, such as where to begin */
export function inputArgs(
  url: string,
  demuxer: string,
  threads: number,
  before: Readonly<Record<string, string>> = {}
): string[] {
  return ffmpegOptions({
    protocol_whitelist: 'http,tcp',
    codec_whitelist: DECODERS,
    rw_timeout: READ_TIMEOUT_US,
    probesize: PROBE_BYTES,
    analyzeduration: PROBE_US,
    threads,
    ...before,
    f: demuxer,
    i: url
  })
}
