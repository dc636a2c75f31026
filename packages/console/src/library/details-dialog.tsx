/** All that is known of a film. */
import type { Film, FilmDetails, Track } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatBytes, formatDate, formatDuration, languageName } from '../format.ts'
import { IconButton } from '../parts/button.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { formatNameOf } from '../playability.ts'
import { language, texts } from '../settings.ts'
import type { Strings } from '../strings/en.ts'
import { FilmPlays } from './film-plays.tsx'

export function DetailsDialog({ film, onClose }: { film: Film; onClose(): void }) {
  const t = texts.value
  const { application, user, file } = film
  const [details, setDetails] = useState<FilmDetails | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  const load = (): void => {
    call('GET /api/v1/films/{application}/{user}/{file}', { application, user, file }).then(
      setDetails,
      error => setTrouble(sentenceOf(error))
    )
  }
  useEffect(load, [application, user, file])
  const takeAway = async (id: string): Promise<void> => {
    try {
      await call('DELETE /api/v1/films/{application}/{user}/{file}/subtitles/{language}', {
        application,
        user,
        file,
        language: id
      })
      load()
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  const rows: (readonly [string, string])[] = [
    [t.size, formatBytes(film.sizeBytes, language.value)],
    [t.format, formatNameOf(film.mediaType) || film.mediaType],
    ...(film.durationS === null ? [] : [[t.duration, formatDuration(film.durationS)] as const]),
    ...tracksOf(details, 'video', t.picture, t),
    ...tracksOf(details, 'audio', t.sound, t),
    [t.storedAt, formatDate(film.storedAt, language.value)],
    [t.fileName, film.name],
    [t.application, application],
    [t.user, user],
    [t.fileId, file]
  ]
  return (
    <Dialog title={film.title} onClose={onClose} wide>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      <dl class="details">
        {rows
          .filter(([, value]) => value !== '')
          .map(([name, value], index) => (
            <div key={index}>
              <dt>{name}</dt>
              <dd dir="auto">{value}</dd>
            </div>
          ))}
      </dl>
      {details?.notStreamable && <p class="note">{`${t.asStored} (${details.notStreamable})`}</p>}
      {details && details.subtitles.length > 0 && (
        <>
          <h3>{t.subtitles}</h3>
          <ul class="plain-list">
            {details.subtitles.map(({ id, label }) => (
              <li key={id} class="row">
                <span class="grow">{label}</span>
                <IconButton
                  icon="close"
                  label={t.takeAwayOf(label)}
                  kind="bad"
                  onClick={() => void takeAway(id)}
                />
              </li>
            ))}
          </ul>
        </>
      )}
      {(film.kind === 'video' || film.kind === 'audio') && <FilmPlays film={film} />}
    </Dialog>
  )
}

function tracksOf(
  details: FilmDetails | undefined,
  kind: Track['kind'],
  name: string,
  t: Strings
): (readonly [string, string])[] {
  const tracks = details?.media?.tracks.filter(track => track.kind === kind) ?? []
  return tracks.map((track, index) => [
    tracks.length === 1 ? name : `${name}: ${t.track(index + 1)}`,
    [
      track.title,
      languageName(track.language ?? '', language.value),
      track.codec,
      track.width && track.height ? `${track.width} × ${track.height}` : '',
      track.frameRate ? t.framesPerSecond(Math.round(track.frameRate * 100) / 100) : '',
      track.channels ? t.channels(track.channels) : '',
      track.sampleRate ? `${track.sampleRate / 1000} kHz` : '',
      track.bitRate ? `${Math.round(track.bitRate / 1000)} kbit/s` : ''
    ]
      .filter(Boolean)
      .join(' · ')
  ])
}
