/** Adaptive streaming into an element: by the browser itself where it is at home there, else by hls.js. */
import type Hls from 'hls.js'
import type { HlsConfig } from 'hls.js'
import type { Renditions, Sounds } from './choices.ts'

const TYPE = 'application/vnd.apple.mpegurl'
/** Ahead of what is watched; more would only be sent for nothing. */
const BUFFER_S = 30
const BUFFER_BYTES_MAX = 60 * 1_000 * 1_000
/** A decoder that stumbles is set up again so often; after that the film is played as it was stored. */
const RECOVERIES_MAX = 2

export interface Stream {
  stop(): void
}

export interface StreamOptions {
  media: HTMLMediaElement
  /** Address of the master playlist. */
  url: string
  renditions: Renditions
  sounds: Sounds
  /** @param lang  of the track; `name` as its playlist calls it. */
  trackName(number: number, name: string, lang: string): string
  /** It cannot go on like this; another way must be found. */
  onFailure(): void
}

/** Lists are put on the element before the controls look at it. */
export function offerChoices(media: HTMLMediaElement, renditions: Renditions, sounds: Sounds): void {
  Object.defineProperty(media, 'videoRenditions', { value: renditions, configurable: true })
  Object.defineProperty(media, 'audioTracks', { value: sounds, configurable: true })
}

/** Apple's browsers play it as well as anything could, and hand it to a television. */
export function playsNatively(media: HTMLMediaElement): boolean {
  return (
    media.canPlayType(TYPE) !== '' && ('ManagedMediaSource' in globalThis || !('MediaSource' in globalThis))
  )
}

export async function startStream(options: StreamOptions): Promise<Stream | undefined> {
  const { media, url } = options
  if (playsNatively(media)) {
    media.src = url
    return { stop: () => {} }
  }
  const master = await fetch(url).then(
    async response => (response.ok ? response.text() : undefined),
    () => undefined
  )
  if (master === undefined) return undefined
  // The light build leaves out what few films have: sound apart from the picture.
  const { default: HlsClass } = /^#EXT-X-MEDIA:.*TYPE=AUDIO.*URI=/m.test(master)
    ? await import('hls.js')
    : await import('hls.js/light')
  if (!HlsClass.isSupported()) return undefined
  return new ScriptedStream(HlsClass, options)
}

class ScriptedStream implements Stream {
  readonly #hls: Hls
  #recoveries = 0

  constructor(HlsClass: typeof Hls, { media, url, renditions, sounds, trackName, onFailure }: StreamOptions) {
    const config: Partial<HlsConfig> = {
      // Its worker would be a script from a blob; what we package needs none of its work.
      enableWorker: false,
      maxBufferLength: BUFFER_S,
      maxMaxBufferLength: BUFFER_S,
      maxBufferSize: BUFFER_BYTES_MAX,
      backBufferLength: BUFFER_S,
      capLevelToPlayerSize: true,
      // The page brings subtitles of its own.
      renderTextTracksNatively: false
    }
    const hls = (this.#hls = new HlsClass(config))
    renditions.addEventListener('change', () => (hls.nextLevel = renditions.selectedIndex))
    hls.on(HlsClass.Events.MANIFEST_PARSED, () => {
      const all = hls.levels.map(({ width, height, bitrate }, index) => ({
        id: String(index),
        width,
        height,
        bitrate
      }))
      if (all.length > 1) renditions.offer(all)
    })
    hls.on(HlsClass.Events.AUDIO_TRACKS_UPDATED, (_name, { audioTracks }) => {
      const named = audioTracks.map(({ name, lang }, index) => ({
        id: String(index),
        kind: index === 0 ? 'main' : 'alternative',
        label: trackName(index + 1, name, lang ?? ''),
        language: lang ?? ''
      }))
      sounds.offer(named, Math.max(0, hls.audioTrack))
    })
    sounds.addEventListener('change', () => {
      hls.audioTrack = [...sounds].findIndex(({ enabled }) => enabled)
    })
    hls.on(HlsClass.Events.ERROR, (_name, { fatal, type, details }) => {
      if (!fatal) return
      // What no decoder here knows, none will know after it was set up again.
      if (details === HlsClass.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) return onFailure()
      if (type === HlsClass.ErrorTypes.MEDIA_ERROR && this.#recoveries++ < RECOVERIES_MAX) {
        hls.recoverMediaError()
      } else onFailure()
    })
    hls.loadSource(url)
    hls.attachMedia(media)
  }

  stop(): void {
    this.#hls.destroy()
  }
}
