/** All films: to look for, to play, to add. */
import { useEffect, useRef } from 'preact/hooks'
import { mayWrite } from '../api/session.ts'
import { IconButton } from '../parts/button.tsx'
import { Icon } from '../parts/icon.tsx'
import { formatCount } from '../format.ts'
import { language, texts } from '../settings.ts'
import { pickFiles } from '../uploads/handles.ts'
import { uploadFiles } from '../uploads/uploads.ts'
import { FilmCard } from './film-card.tsx'
import {
  films,
  hasMore,
  isLoading,
  keyOf,
  loadFilms,
  loadMore,
  ask,
  show,
  trouble,
  view,
  wish
} from './library.ts'
import { Filters, Search, SortChoice } from './library-tools.tsx'
import { isFiltered } from './wish.ts'

export function LibraryPage() {
  const t = texts.value
  useEffect(() => void loadFilms(), [wish.value])
  const isEmpty = films.value.length === 0 && !isLoading.value && trouble.value === ''
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>{t.library}</h1>
        {films.value.length > 0 && (
          <span class="count" id="count">
            {t.count(
              formatCount(films.value.length, language.value),
              hasMore.value,
              films.value.length === 1
            )}
          </span>
        )}
        <div class="tools">
          <Search />
          <SortChoice />
          <div class="switch" role="group" aria-label={t.view}>
            <IconButton
              icon="grid"
              label={t.asPosters}
              pressed={view.value === 'posters'}
              onClick={() => show('posters')}
            />
            <IconButton
              icon="list"
              label={t.asList}
              pressed={view.value === 'list'}
              onClick={() => show('list')}
            />
          </div>
        </div>
        {mayWrite.value && <UploadButton />}
      </div>
      <Filters />
      {trouble.value !== '' && (
        <p class="note bad" role="alert">
          {t.listFailed(trouble.value)}{' '}
          <button type="button" onClick={() => void loadFilms()}>
            {t.tryAgain}
          </button>
        </p>
      )}
      {isEmpty && (isFiltered(wish.value) ? <NothingFound /> : <Welcome />)}
      <ul class={`films as-${view.value}`} id="film-list" aria-busy={isLoading.value}>
        {films.value.map(film => (
          <FilmCard key={keyOf(film)} film={film} />
        ))}
      </ul>
      <More />
    </>
  )
}

function UploadButton() {
  const input = useRef<HTMLInputElement>(null)
  const choose = async (): Promise<void> => {
    const picked = await pickFiles()
    if (picked) uploadFiles(picked)
    else input.current!.click()
  }
  return (
    <>
      <button type="button" class="primary" onClick={() => void choose()}>
        <Icon name="up" />
        <span>{texts.value.upload}</span>
      </button>
      <input
        ref={input}
        id="choose"
        type="file"
        multiple
        class="hidden-input"
        tabIndex={-1}
        aria-hidden="true"
        onChange={event => {
          uploadFiles([...(event.currentTarget.files ?? [])])
          event.currentTarget.value = '' // the same file may be chosen again
        }}
      />
    </>
  )
}

function NothingFound() {
  const t = texts.value
  return (
    <div class="empty">
      <Icon name="search" large />
      <p>{t.nothingFound}</p>
      <button type="button" onClick={() => ask({ q: '', app: '', user: '', kind: '' })}>
        {t.clearFilters}
      </button>
    </div>
  )
}

function Welcome() {
  const t = texts.value
  return (
    <div class="empty" id="empty">
      <Icon name="film" large />
      <p>{t.emptyTitle}</p>
      <ol>
        <li>{t.emptyStep1}</li>
        <li>{t.emptyStep2}</li>
        <li>{t.emptyStep3}</li>
      </ol>
    </div>
  )
}

/** Asks for what follows when its place comes near; the button is for those who do not scroll. */
function More() {
  const mark = useRef<HTMLDivElement>(null)
  const more = hasMore.value
  useEffect(() => {
    if (!more) return
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (entry?.isIntersecting) void loadMore()
      },
      { rootMargin: '600px' }
    )
    observer.observe(mark.current!)
    return () => observer.disconnect()
  }, [more, films.value.length])
  if (!more) return null
  return (
    <div ref={mark} class="more">
      <button type="button" disabled={isLoading.value} onClick={() => void loadMore()}>
        {isLoading.value ? texts.value.loading : texts.value.more}
      </button>
    </div>
  )
}
