/** What can be done with a film, from its menu. */
import type { Film } from '@tributary/gateway/contract'
import { call } from '../api/api.ts'
import { ApiError } from '../api/http.ts'
import { mayWrite } from '../api/session.ts'
import { copy } from '../parts/copy.ts'
import { sentenceOf } from '../parts/failure.ts'
import type { MenuItem } from '../parts/menu.tsx'
import { say } from '../parts/sayings.tsx'
import { watchAddress } from '../router.ts'
import { texts } from '../settings.ts'
import { openDialog } from './film-dialogs.tsx'
import { loadFilms, takeOut } from './library.ts'

export function actionsOf(film: Film): MenuItem[] {
  const t = texts.value
  const plays = film.kind === 'video' || film.kind === 'audio'
  const all: (MenuItem | undefined)[] = [
    { label: t.copyLink, icon: 'link', act: () => void copy(linkOf(film)) },
    { label: t.download, icon: 'save', href: `${film.links.file}?download`, download: true },
    { label: t.details, icon: 'info', act: () => openDialog('details', film) }
  ]
  if (mayWrite.value) {
    all.push(
      plays ? { label: t.share, icon: 'share', act: () => openDialog('share', film) } : undefined,
      { label: t.rename, icon: 'edit', act: () => openDialog('rename', film) },
      plays ? { label: t.posterReplace, icon: 'picture', act: () => openDialog('poster', film) } : undefined,
      film.kind === 'video'
        ? { label: t.subtitlesAdd, icon: 'subtitles', act: () => openDialog('subtitles', film) }
        : undefined,
      { label: t.delete, icon: 'trash', bad: true, act: () => void moveToTrash(film) }
    )
  }
  return all.filter(item => item !== undefined)
}

/** Of its page, to be sent to somebody; of its content, where there is nothing to watch. */
function linkOf(film: Film): string {
  const plays = film.kind === 'video' || film.kind === 'audio'
  return new URL(plays ? watchAddress(film) : film.links.file, location.href).href
}

async function moveToTrash(film: Film): Promise<void> {
  const t = texts.value
  const { application, user, file, title } = film
  try {
    await call('DELETE /api/v1/films/{application}/{user}/{file}', { application, user, file })
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) return say(sentenceOf(error), { bad: true })
  }
  takeOut(film)
  say(t.trashed(title), { offer: { label: t.undo, act: () => void bringBack(film) } })
}

async function bringBack({ application, user, file, title }: Film): Promise<void> {
  try {
    await call('POST /api/v1/films/{application}/{user}/{file}/restore', { application, user, file })
    say(texts.value.restored(title))
  } catch (error) {
    say(sentenceOf(error), { bad: true })
  }
  await loadFilms()
}
