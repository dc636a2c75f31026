/** A film in the library, as a poster or as a row; both have the same parts, and the styles put them in place. */
import type { Film } from '@tributary/gateway/contract'
import { formatBytes, formatDay, formatDuration } from '../format.ts'
import { Icon, type IconName } from '../parts/icon.tsx'
import { Menu } from '../parts/menu.tsx'
import { formatNameOf } from '../playability.ts'
import { watchAddress } from '../router.ts'
import { language, texts } from '../settings.ts'
import { actionsOf } from './film-actions.ts'

const PICTURES: Readonly<Record<Film['kind'], IconName>> = {
  video: 'film',
  audio: 'sound',
  image: 'picture',
  text: 'file',
  other: 'file'
}

export function FilmCard({ film }: { film: Film }) {
  const t = texts.value
  const { title, kind, durationS, links } = film
  const plays = kind === 'video' || kind === 'audio'
  const href = plays ? watchAddress(film) : `${links.file}?download`
  return (
    <li class="film">
      <a class={`thumb is-${kind}`} href={href} aria-label={plays ? t.play(title) : `${t.download} ${title}`}>
        {links.poster === null ? (
          <Icon name={PICTURES[kind]} large />
        ) : (
          <img src={links.poster} alt="" loading="lazy" decoding="async" width="320" height="180" />
        )}
        {plays && (
          <span class="thumb-play">
            <Icon name="play" solid />
          </span>
        )}
        {durationS !== null && durationS > 0 && <span class="badge">{formatDuration(durationS)}</span>}
      </a>
      <div class="film-text">
        <h3 class="name" dir="auto">
          <a href={href} title={title} tabIndex={-1}>
            {title}
          </a>
        </h3>
        <p class="facts">
          {factsOf(film)}
          <span class="of-date"> · {formatDay(film.storedAt, language.value)}</span>
        </p>
      </div>
      <Menu label={t.actionsOf(title)} items={actionsOf(film)} />
    </li>
  )
}

function factsOf({ kind, mediaType, sizeBytes }: Film): string {
  const t = texts.value
  const kinds = {
    video: t.typeVideo,
    audio: t.typeAudio,
    image: t.typeImage,
    text: t.typeText,
    other: t.typeFile
  }
  const type = [kinds[kind], formatNameOf(mediaType)].filter(Boolean).join(' ')
  return [formatBytes(sizeBytes, language.value), type].filter(Boolean).join(' · ')
}
