import type { FilmFacts, TrackFacts } from '@tributary/media'

export interface FilmPicture {
  /** Among the film's tracks with a picture, as ffmpeg counts them. */
  ordinal: number
  track: TrackFacts
  /** As it is shown. */
  width: number
  height: number
}

/** The picture of a film; undefined: it has none, or its size is not known. */
export function pictureOf({ tracks }: Pick<FilmFacts, 'tracks'>): FilmPicture | undefined {
  const pictures = tracks.filter(({ kind }) => kind === 'video')
  const track =
    pictures.find(({ refusal, default: first }) => first && refusal === null) ??
    pictures.find(({ refusal }) => refusal === null) ??
    pictures[0]
  if (!track?.width || !track.height) return undefined
  return { ordinal: pictures.indexOf(track), track, width: track.width, height: track.height }
}

/** H.264 with 8 bits and every second colour: what all browsers show. */
export function playsEverywhere({ codec, codecName }: Pick<TrackFacts, 'codec' | 'codecName'>): boolean {
  if (codecName !== 'avc') return false
  const profile = Number.parseInt(/^avc[13]\.([0-9a-fA-F]{2})/.exec(codec ?? '')?.[1] ?? '', 16)
  // Baseline, main, extended, high; above are those with more bits or colours.
  return [66, 77, 88, 100].includes(profile)
}

/** Numbers of ISO/IEC 23091-2, and ffmpeg's names of them. */
const WIDE_TRANSFERS: Record<number, string> = { 16: 'smpte2084', 18: 'arib-std-b67' }
const NOMINAL_PEAK_NITS = 100

/**
 * A filter, with a comma behind it, that brings a picture of high dynamic range into the range that every screen has; empty for
 * others. Without it such a picture is grey.
 */
export function toneMapping({
  color,
  highDynamicRange
}: Pick<TrackFacts, 'color' | 'highDynamicRange'>): string {
  const transfer = WIDE_TRANSFERS[color?.transfer ?? 0]
  if (!highDynamicRange || transfer === undefined) return ''
  return (
    `zscale=tin=${transfer}:pin=bt2020:min=bt2020nc:t=linear:npl=${NOMINAL_PEAK_NITS},format=gbrpf32le,` +
    'zscale=p=bt709,tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,'
  )
}
