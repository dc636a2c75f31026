/** How often a film was played, and how far its viewers came. */
import type { Film, Plays } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatCount, formatDuration, formatShare } from '../format.ts'
import { sentenceOf } from '../parts/failure.ts'
import { language, texts } from '../settings.ts'
import { lately, shareToEnd } from './play-figures.ts'

export function FilmPlays({ film: { application, user, file } }: { film: Film }) {
  const t = texts.value
  const [plays, setPlays] = useState<Plays | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  useEffect(() => {
    call('GET /api/v1/films/{application}/{user}/{file}/plays', { application, user, file }).then(
      setPlays,
      error => setTrouble(sentenceOf(error))
    )
  }, [application, user, file])
  return (
    <section class="plays" aria-labelledby="plays-title">
      <h3 id="plays-title">{t.plays}</h3>
      {trouble !== '' && <p class="facts bad">{trouble}</p>}
      {plays?.starts === 0 && <p class="facts">{t.playsNone}</p>}
      {plays && plays.starts > 0 && <Figures plays={plays} />}
    </section>
  )
}

function Figures({ plays }: { plays: Plays }) {
  const t = texts.value
  const { starts, playedS, reached, days } = plays
  const count = (figure: number): string => formatCount(figure, language.value)
  const most = Math.max(1, ...reached)
  const recent = lately(days, Date.now())
  return (
    <>
      <p>
        {[
          t.playsCount(count(starts), starts === 1),
          t.playsLately(count(recent)),
          t.playsWatched(formatDuration(playedS)),
          t.playsToEnd(formatShare(shareToEnd(plays), language.value))
        ].join(' · ')}
      </p>
      <p class="facts" id="reached-title">
        {t.playsReached}
      </p>
      <ol class="reached" aria-labelledby="reached-title">
        {reached.map((viewings, tenth) => {
          const place = formatShare(tenth / (reached.length - 1), language.value)
          return (
            <li key={tenth} title={`${place}: ${count(viewings)}`}>
              <span class="reached-bar" style={{ height: `${(viewings / most) * 100}%` }} />
              <span class="reached-place">{place}</span>
              <span class="unseen">: {count(viewings)}</span>
            </li>
          )
        })}
      </ol>
    </>
  )
}
