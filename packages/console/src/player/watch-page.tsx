/** A film's own page: to watch it, and to send it on. With `framed`, only the player, for other sites' pages. */
import type { FilmDetails } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { ApiError } from '../api/http.ts'
import { formatBytes, formatDate, formatDuration } from '../format.ts'
import { actionsOf } from '../library/film-actions.ts'
import { CopyField } from '../library/share-dialog.tsx'
import { IconButton } from '../parts/button.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { Icon } from '../parts/icon.tsx'
import { Menu } from '../parts/menu.tsx'
import { formatNameOf, type Hint, type Reason } from '../playability.ts'
import { query } from '../place.ts'
import { keyPath, type FilmKey } from '../router.ts'
import { language, texts } from '../settings.ts'
import { SharedFilm } from './shared-film.tsx'
import { wayIn } from './way-in.ts'
import { lazy } from '../parts/lazy.tsx'

/** The player and all it needs come when the first film is opened. */
const Player = lazy(async () => (await import('./player.tsx')).Player)

export function WatchPage({ page, framed = false }: { page: FilmKey; framed?: boolean }) {
  const { prefix, share } = wayIn(query.value)
  if (share === undefined) return <Film key={keyPath(page)} page={page} prefix={prefix} framed={framed} />
  // The signature that it gives is good for hours only: the address keeps the share, and a reload opens it again.
  return (
    <SharedFilm
      id={share}
      render={search => <Film page={page} prefix={wayIn(search).prefix} framed={framed} />}
    />
  )
}

function Film({ page, prefix, framed }: { page: FilmKey; prefix: string; framed: boolean }) {
  const { application, user, file } = page
  const [details, setDetails] = useState<FilmDetails | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  const [asStored, setAsStored] = useState(false)
  const [reasons, setReasons] = useState<readonly (Reason | Hint)[]>([])
  useEffect(() => {
    setDetails(undefined)
    setTrouble('')
    setReasons([])
    setAsStored(false)
    const abort = new AbortController()
    call('GET /api/v1/films/{application}/{user}/{file}', {
      application,
      user,
      file,
      prefix,
      signal: abort.signal
    }).then(
      found => {
        // Asked for under a signature, its addresses have it in front.
        setDetails(found)
        document.title = `${found.film.title} – Tributary`
      },
      error => {
        if (!abort.signal.aborted) setTrouble(sentenceOfFilm(error))
      }
    )
    return () => abort.abort()
  }, [application, user, file, prefix])
  const t = texts.value
  const film = details?.film
  const stage = (
    <div class={film?.kind === 'audio' ? 'stage is-audio' : 'stage'} id="stage">
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      {details && reasons.length === 0 && (
        <Player
          key={details.film.generation}
          details={details}
          framed={framed}
          onAsStored={() => setAsStored(true)}
          onReasons={setReasons}
        />
      )}
      {film && reasons.length > 0 && <Reasons film={film} reasons={reasons} onRetry={() => setReasons([])} />}
      {!trouble && !details && <p class="stage-wait">{t.loading}</p>}
    </div>
  )
  if (framed) return <main class="framed">{stage}</main>
  return (
    <>
      {stage}
      {details && (
        <About details={details} asStored={asStored && reasons.length === 0} isSigned={prefix !== ''} />
      )}
    </>
  )
}

function About({
  details,
  asStored,
  isSigned
}: {
  details: FilmDetails
  asStored: boolean
  isSigned: boolean
}) {
  const t = texts.value
  const { film, notStreamable } = details
  const facts = [
    film.durationS === null ? '' : formatDuration(film.durationS),
    film.width && film.height ? `${film.width} × ${film.height}` : '',
    formatNameOf(film.mediaType),
    formatBytes(film.sizeBytes, language.value),
    formatDate(film.storedAt, language.value)
  ]
  return (
    <div class="watch-about">
      <div class="page-head">
        <h1 tabIndex={-1} dir="auto">
          {film.title}
        </h1>
        <div class="tools">
          <a class="button" href={`${film.links.file}?download`} download="" aria-label={t.download}>
            <Icon name="save" />
            <span>{t.download}</span>
          </a>
          {/* Whoever was let in for this film alone has it as it is. */}
          {!isSigned && <Menu label={t.actionsOf(film.title)} items={actionsOf(film)} />}
        </div>
      </div>
      <p class="facts">{facts.filter(Boolean).join(' · ')}</p>
      {asStored && (
        <p class="facts">{notStreamable === null ? t.asStored : `${t.asStored} (${notStreamable})`}</p>
      )}
      <CopyField label={t.elsewhere} value={absolute(film.links.file)} said={t.copied} />
    </div>
  )
}

function Reasons({
  film,
  reasons,
  onRetry
}: {
  film: FilmDetails['film']
  reasons: readonly (Reason | Hint)[]
  onRetry(): void
}) {
  const t = texts.value
  return (
    <div class="note reasons" id="reason" role="alert">
      {reasons.map(reason => (
        <p key={reason}>{t[reason]}</p>
      ))}
      {reasons.includes('advice') && (
        <pre>
          <code>{`mpv '${absolute(film.links.file)}'`}</code>
        </pre>
      )}
      {reasons.includes('reasonNetwork') && <IconButton icon="retry" label={t.tryAgain} onClick={onRetry} />}
    </div>
  )
}

/** An apostrophe is allowed in URLs, and would end the text in the command line above. */
function absolute(path: string): string {
  return new URL(path, location.href).href.replaceAll("'", '%27')
}

function sentenceOfFilm(error: unknown): string {
  const isPrivate = error instanceof ApiError && (error.status === 401 || error.status === 403)
  if (isPrivate) return texts.value.reasonPrivate
  if (error instanceof ApiError && error.status === 404) return texts.value.reasonMissing
  return sentenceOf(error)
}
