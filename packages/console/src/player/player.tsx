/** The player: controls, and what feeds them. Loaded when a film is opened. */
import type { FilmDetails } from '@tributary/gateway/contract'
import type { MediaController } from 'media-chrome'
import 'media-chrome'
import 'media-chrome/menu'
import 'media-chrome/lang/zh-CN.js'
import { setLanguage } from 'media-chrome/dist/utils/i18n.js'
import { useEffect, useRef, useState } from 'preact/hooks'
import { formatDuration, languageName } from '../format.ts'
import { Icon } from '../parts/icon.tsx'
import { reasonsFor, type Hint, type Reason } from '../playability.ts'
import { language, read, texts, write } from '../settings.ts'
import './player.css'
import { Renditions, Sounds } from './choices.ts'
import { Clock } from './clock.tsx'
import { reportPlays } from './plays.ts'
import { Positions } from './positions.ts'
import { offerChoices, startStream, type Stream } from './stream.ts'

export interface PlayerProps {
  details: FilmDetails
  framed: boolean
  /** It is not streamed but read from the file itself. */
  onAsStored(): void
  /** Why it cannot be played. */
  onReasons(reasons: readonly (Reason | Hint)[]): void
}

const POSITION_EVERY_MS = 5_000
const SPEEDS = '0.5 0.75 1 1.25 1.5 2'
const SEEK_S = '10'

const positions = new Positions({ read: () => read('positions'), write: text => write('positions', text) })

export function Player({ details, framed, onAsStored, onReasons }: PlayerProps) {
  setLanguage(language.value === 'zh' ? 'zh-CN' : 'en')
  const t = texts.value
  const { film, subtitles, thumbnails } = details
  const isAudio = film.kind === 'audio'
  const media = useRef<HTMLVideoElement>(null)
  const controller = useRef<MediaController>(null)
  const [resumedS, setResumedS] = useState(0)

  useEffect(() => {
    const video = media.current!
    const { generation } = film
    const renditions = new Renditions(() => {})
    const sounds = new Sounds(() => {})
    let stream: Stream | undefined
    let ended = false
    const playAsStored = (): void => {
      if (ended) return
      stream?.stop()
      stream = undefined
      if (film.links.hls !== null) onAsStored()
      const second = video.currentTime
      video.src = film.links.file
      if (second > 0) video.currentTime = second
      void video.play().catch(() => {}) // not before a touch: the button is there
    }
    const start = async (): Promise<void> => {
      offerChoices(video, renditions, sounds)
      // The controls look once at what takes this place, and must find the lists.
      video.slot = 'media'
      await controller.current!.handleMediaUpdated(video)
      nameBackButtons(controller.current!, texts.value.back)
      const from = positions.of(generation)
      if (from > 0) {
        video.addEventListener(
          'loadedmetadata',
          () => {
            video.currentTime = from
            setResumedS(from)
          },
          { once: true }
        )
      }
      const { hls } = film.links
      if (hls === null || details.notStreamable !== null) return playAsStored()
      stream = await startStream({
        media: video,
        url: hls,
        renditions,
        sounds,
        trackName: (number, name, lang) => {
          const spoken = languageName(lang, language.value)
          // A name that only repeats the code, or counts, says less than the language.
          if (spoken !== '' && (name === '' || name === lang)) return spoken
          return spoken === '' && /^(sound \d+)?$/i.test(name) ? texts.value.track(number) : name
        },
        onFailure: playAsStored
      })
      if (ended) return stream?.stop()
      if (!stream) return playAsStored()
      void video.play().catch(() => {})
    }
    const onError = async (): Promise<void> => {
      const code = video.error?.code ?? 0
      // A stream that broke may still play as it was stored.
      if (stream) return playAsStored()
      const status = await statusOf(film.links.file)
      if (!ended) onReasons(reasonsFor(film, code, status))
    }
    const onMetadata = (): void => {
      if (film.kind === 'video' && video.videoWidth === 0) onReasons(['reasonSoundOnly', 'advice'])
    }
    const note = (): void => {
      if (video.readyState > 0)
        positions.note(generation, video.ended ? 0 : video.currentTime, video.duration)
    }
    const timer = setInterval(() => {
      if (!video.paused) note()
    }, POSITION_EVERY_MS)
    video.addEventListener('error', onError)
    video.addEventListener('loadedmetadata', onMetadata)
    video.addEventListener('pause', note)
    video.addEventListener('ended', note)
    addEventListener('pagehide', note)
    const stopReports = reportPlays(video, film)
    void start()
    if (!framed) controller.current?.focus({ preventScroll: true })
    return () => {
      ended = true
      note()
      clearInterval(timer)
      removeEventListener('pagehide', note)
      video.removeEventListener('error', onError)
      stopReports()
      stream?.stop()
      video.pause()
      video.removeAttribute('src')
      video.load() // ends the download
    }
  }, [])

  const Media = isAudio ? 'audio' : 'video'
  return (
    <>
      <media-controller
        ref={controller}
        class={isAudio ? 'player is-audio' : 'player'}
        audio={isAudio || undefined}
        keyboardforwardseekoffset={SEEK_S}
        keyboardbackwardseekoffset={SEEK_S}
        aria-label={film.title}
      >
        <Media
          ref={media as never}
          playsInline
          preload="metadata"
          poster={isAudio ? undefined : (film.links.poster ?? undefined)}
          aria-label={film.title}
        >
          {subtitles.map(({ id, language, label, url }) => (
            <track key={id} kind="subtitles" srcLang={language} label={label} src={url} />
          ))}
          {thumbnails !== null && <track kind="metadata" label="thumbnails" src={thumbnails} default />}
        </Media>
        {!isAudio && <media-loading-indicator slot="centered-chrome" noautohide />}
        <media-settings-menu id="player-settings" hidden anchor="auto">
          <media-settings-menu-item class="of-quality">
            {t.quality}
            <media-rendition-menu slot="submenu" hidden>
              <div slot="title">{t.quality}</div>
            </media-rendition-menu>
          </media-settings-menu-item>
          <media-settings-menu-item class="of-audio">
            {t.audio}
            <media-audio-track-menu slot="submenu" hidden>
              <div slot="title">{t.audio}</div>
            </media-audio-track-menu>
          </media-settings-menu-item>
          {subtitles.length > 0 && (
            <media-settings-menu-item>
              {t.subtitles}
              <media-captions-menu slot="submenu" hidden>
                <div slot="title">{t.subtitles}</div>
              </media-captions-menu>
            </media-settings-menu-item>
          )}
          <media-settings-menu-item>
            {t.speed}
            <media-playback-rate-menu slot="submenu" hidden rates={SPEEDS}>
              <div slot="title">{t.speed}</div>
            </media-playback-rate-menu>
          </media-settings-menu-item>
        </media-settings-menu>
        <media-control-bar class="seek-bar">
          <media-time-range />
        </media-control-bar>
        <media-control-bar class="buttons">
          <media-play-button />
          <media-seek-backward-button class="wide-only" seekoffset={SEEK_S} />
          <media-seek-forward-button class="wide-only" seekoffset={SEEK_S} />
          <media-mute-button />
          <media-volume-range class="wide-only" />
          <Clock media={media} />
          <span class="grow" />
          {subtitles.length > 0 && <media-captions-button />}
          <media-settings-menu-button />
          {!isAudio && <media-pip-button class="wide-only" />}
          {!isAudio && <media-fullscreen-button />}
        </media-control-bar>
      </media-controller>
      {resumedS > 0 && (
        <p class="resumed" role="status">
          <span>{t.resumedAt(formatDuration(resumedS))}</span>
          <button
            type="button"
            onClick={() => {
              media.current!.currentTime = 0
              setResumedS(0)
            }}
          >
            <Icon name="restore" />
            {t.fromStart}
          </button>
        </p>
      )}
    </>
  )
}

/** In a menu every button is an item of it, and is called by what it shows. */
function nameBackButtons(controls: HTMLElement, back: string): void {
  for (const menu of controls.querySelectorAll('media-settings-menu, [slot="submenu"]')) {
    const button = menu.shadowRoot?.querySelector('button[part~="back"]')
    const title = menu.querySelector('[slot="title"]')?.textContent ?? ''
    button?.setAttribute('role', 'menuitem')
    button?.setAttribute('aria-label', `${title} – ${back}`)
  }
}

/** Status of the film now; 0: no answer. */
async function statusOf(url: string): Promise<number> {
  const response = await fetch(url, { headers: { range: 'bytes=0-0' }, cache: 'no-store' }).catch(
    () => undefined
  )
  await response?.arrayBuffer().catch(() => undefined)
  return response?.status ?? 0
}
