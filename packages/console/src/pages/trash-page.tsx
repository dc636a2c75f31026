/** What was deleted and can come back. */
import type { Film } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { mayWrite } from '../api/session.ts'
import { formatAgo, formatBytes } from '../format.ts'
import { keyOf } from '../library/library.ts'
import { IconButton } from '../parts/button.tsx'
import { confirm } from '../parts/confirm.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { Icon } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'

const PAGE_FILMS = 100

export function TrashPage() {
  const t = texts.value
  const [films, setFilms] = useState<readonly Film[] | undefined>(undefined)
  const [next, setNext] = useState<string | null>(null)
  const [trouble, setTrouble] = useState('')
  const [emptying, setEmptying] = useState(false)

  const load = async (after: string | null): Promise<void> => {
    setTrouble('')
    try {
      const query = { trashed: true, limit: PAGE_FILMS, ...(after !== null && { after }) }
      const answer = await call('GET /api/v1/films', { query })
      setFilms(known => [...(after === null ? [] : (known ?? [])), ...answer.films])
      setNext(answer.next)
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  useEffect(() => void load(null), [])

  const act = async (film: Film, work: () => Promise<unknown>, said: string): Promise<void> => {
    try {
      await work()
      setFilms(known => known?.filter(other => other !== film))
      say(said)
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  const restore = (film: Film): Promise<void> =>
    act(
      film,
      () => call('POST /api/v1/films/{application}/{user}/{file}/restore', keyFields(film)),
      t.restored(film.title)
    )
  const remove = async (film: Film): Promise<void> => {
    const sure = await confirm({
      title: t.deleteForGoodTitle,
      hint: t.deleteForGoodHint,
      name: film.title,
      yes: t.deleteForGood
    })
    if (!sure) return
    const query = { forever: true }
    await act(
      film,
      () => call('DELETE /api/v1/films/{application}/{user}/{file}', { ...keyFields(film), query }),
      t.deleted(film.title)
    )
  }
  const empty = async (): Promise<void> => {
    const sure = await confirm({
      title: t.emptyTrashTitle,
      hint: t.emptyTrashHint,
      name: '',
      yes: t.emptyTrash
    })
    if (!sure) return
    setEmptying(true)
    try {
      while ((await call('DELETE /api/v1/trash', {})).more) continue
      say(t.trashEmptied)
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
    setEmptying(false)
    await load(null)
  }

  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>{t.trashTitle}</h1>
        <div class="tools">
          {mayWrite.value && films !== undefined && films.length > 0 && (
            <button type="button" class="danger" disabled={emptying} onClick={() => void empty()}>
              <Icon name="trash" />
              <span>{t.emptyTrash}</span>
            </button>
          )}
        </div>
      </div>
      <p class="facts">{t.trashHint}</p>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      {films?.length === 0 && (
        <div class="empty">
          <Icon name="trash" large />
          <p>{t.trashEmpty}</p>
        </div>
      )}
      <ul class="rows" id="trash-list">
        {films?.map(film => (
          <li key={keyOf(film)} class="row-card">
            <div class="grow">
              <p class="name" dir="auto">
                {film.title}
              </p>
              <p class="facts">
                {[
                  formatBytes(film.sizeBytes, language.value),
                  film.trashedUntil &&
                    t.trashGoes(formatAgo(Date.parse(film.trashedUntil), Date.now(), language.value))
                ]
                  .filter(Boolean)
                  .join(' · ')}
              </p>
            </div>
            {mayWrite.value && (
              <>
                <button type="button" aria-label={t.restoreOf(film.title)} onClick={() => void restore(film)}>
                  <Icon name="restore" />
                  <span>{t.restore}</span>
                </button>
                <IconButton
                  icon="trash"
                  kind="bad"
                  label={t.deleteForGoodOf(film.title)}
                  onClick={() => void remove(film)}
                />
              </>
            )}
          </li>
        ))}
      </ul>
      {next !== null && (
        <div class="more">
          <button type="button" onClick={() => void load(next)}>
            {t.more}
          </button>
        </div>
      )}
    </>
  )
}

function keyFields({ application, user, file }: Film) {
  return { application, user, file }
}
