/** What can be done with a film, from its menu. */
import { deleteFilm, type Film } from '../api/films.ts'
import { ApiError } from '../api/http.ts'
import { confirm } from '../parts/confirm.tsx'
import { copy } from '../parts/copy.ts'
import { sentenceOf } from '../parts/failure.ts'
import type { MenuItem } from '../parts/menu.tsx'
import { say } from '../parts/sayings.tsx'
import { addressOf } from '../router.ts'
import { texts } from '../settings.ts'
import { takeOut } from './library.ts'

export function actionsOf(film: Film): MenuItem[] {
  const t = texts.value
  return [
    { label: t.copyLink, icon: 'link', act: () => void copy(linkOf(film)) },
    { label: t.download, icon: 'save', href: `${film.url}?download`, download: true },
    { label: t.delete, icon: 'trash', bad: true, act: () => void remove(film) }
  ]
}

/** Of its page, to be sent to somebody. */
export function linkOf(film: Film): string {
  return new URL(addressOf({ name: 'watch', ...film }), location.href).href
}

async function remove(film: Film): Promise<void> {
  const t = texts.value
  const sure = await confirm({
    title: t.deleteForGoodTitle,
    hint: t.deleteForGoodHint,
    name: film.title,
    yes: t.delete
  })
  if (!sure) return
  try {
    await deleteFilm(film)
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) return say(sentenceOf(error), { bad: true })
  }
  takeOut(film)
  say(t.deleted(film.title))
}
