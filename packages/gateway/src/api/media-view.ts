/** Media facts as the API shows them, of the JSON that the library keeps. */
import type { FilmFacts, TrackFacts } from '@tributary/media'
import type { FilmDetails, Track } from '../contract/index.ts'

/** What a worker wrote: of a newer program it may say more, of an older one less. */
type KeptFacts = Partial<Omit<FilmFacts, 'tracks'>> & {
  tracks?: Partial<TrackFacts>[]
  notPackageable?: string
}

export function mediaOf(
  text: string | undefined,
  state: 'pending' | 'ready' | 'none'
): Pick<FilmDetails, 'media' | 'notStreamable'> {
  if (text === undefined) {
    return { media: null, notStreamable: state === 'none' ? 'this is no film that can be read' : null }
  }
  const {
    container = '',
    durationS,
    bitRate,
    tracks = [],
    tags = {},
    notPackageable
  } = JSON.parse(text) as KeptFacts
  return {
    media: { container, durationS: durationS ?? 0, bitRate: bitRate ?? 0, tracks: tracks.map(trackOf), tags },
    notStreamable: notPackageable ?? null
  }
}

function trackOf(track: Partial<TrackFacts>): Track {
  const { kind, codec, language, title, width, height, rotation, frameRate } = track
  const { channels, sampleRate, bitRate, refusal } = track
  return {
    kind: kind === 'video' || kind === 'audio' ? kind : 'subtitles',
    codec: codec ?? '',
    ...(language && language !== 'und' && { language }),
    ...(title && { title }),
    ...(track.default && { isDefault: true }),
    ...(width && { width }),
    ...(height && { height }),
    ...(rotation && { rotation }),
    ...(frameRate && { frameRate }),
    ...(channels && { channels }),
    ...(sampleRate && { sampleRate }),
    ...(bitRate && { bitRate }),
    ...(refusal && { refusal })
  }
}
