/** What is changed of a film, each in a small dialog of its own. */
import { signal } from '@preact/signals'
import type { Film } from '@tributary/gateway/contract'
import { useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { say } from '../parts/sayings.tsx'
import { texts } from '../settings.ts'
import { DetailsDialog } from './details-dialog.tsx'
import { change } from './library.ts'
import { ShareDialog } from './share-dialog.tsx'
import { languageOfName, subtitlesTypeOf } from './subtitles-file.ts'

export type FilmDialog = 'details' | 'rename' | 'poster' | 'subtitles' | 'share'

const opened = signal<{ which: FilmDialog; film: Film } | undefined>(undefined)

export function openDialog(which: FilmDialog, film: Film): void {
  opened.value = { which, film }
}

export function FilmDialogs() {
  const open = opened.value
  if (!open) return null
  const { which, film } = open
  const close = (): void => {
    opened.value = undefined
  }
  switch (which) {
    case 'details':
      return <DetailsDialog film={film} onClose={close} />
    case 'rename':
      return <RenameDialog film={film} onClose={close} />
    case 'poster':
      return <PosterDialog film={film} onClose={close} />
    case 'subtitles':
      return <SubtitlesDialog film={film} onClose={close} />
    case 'share':
      return <ShareDialog film={film} onClose={close} />
  }
}

interface DialogOfFilm {
  film: Film
  onClose(): void
}

/** Shows what went wrong where it was asked for, and closes when all went well. */
function useSending(onClose: () => void): {
  trouble: string
  busy: boolean
  send(work: () => Promise<void>): void
} {
  const [trouble, setTrouble] = useState('')
  const [busy, setBusy] = useState(false)
  return {
    trouble,
    busy,
    send: work => {
      setBusy(true)
      setTrouble('')
      work().then(onClose, error => {
        setBusy(false)
        setTrouble(sentenceOf(error))
      })
    }
  }
}

function RenameDialog({ film, onClose }: DialogOfFilm) {
  const t = texts.value
  const [title, setTitle] = useState(film.title)
  const { trouble, busy, send } = useSending(onClose)
  return (
    <Dialog title={t.rename} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          send(async () => {
            const body = { title: title.trim() }
            const renamed = await call('PATCH /api/v1/films/{application}/{user}/{file}', {
              ...keyOf(film),
              body
            })
            change(renamed)
            say(t.renamed(renamed.title))
          })
        }}
      >
        <label>
          <span>{t.title}</span>
          <input
            required
            autofocus
            dir="auto"
            maxLength={250}
            value={title}
            onInput={event => setTitle(event.currentTarget.value)}
          />
        </label>
        <Trouble text={trouble} />
        <Buttons onClose={onClose} busy={busy || title.trim() === ''} />
      </form>
    </Dialog>
  )
}

function PosterDialog({ film, onClose }: DialogOfFilm) {
  const t = texts.value
  const [picture, setPicture] = useState<File | undefined>(undefined)
  const { trouble, busy, send } = useSending(onClose)
  return (
    <Dialog title={t.posterReplace} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          if (!picture) return
          send(async () => {
            await call('PUT /api/v1/films/{application}/{user}/{file}/poster', {
              ...keyOf(film),
              content: picture,
              type: picture.type
            })
            const { film: changed } = await call('GET /api/v1/films/{application}/{user}/{file}', keyOf(film))
            change(changed)
            say(t.posterReplaced)
          })
        }}
      >
        <label>
          <span>{t.choosePicture}</span>
          <input
            type="file"
            required
            accept="image/jpeg,image/png,image/webp"
            onChange={event => setPicture(event.currentTarget.files?.[0])}
          />
        </label>
        <Trouble text={trouble} />
        <Buttons onClose={onClose} busy={busy || picture === undefined} />
      </form>
    </Dialog>
  )
}

function SubtitlesDialog({ film, onClose }: DialogOfFilm) {
  const t = texts.value
  const [file, setFile] = useState<File | undefined>(undefined)
  const [language, setLanguage] = useState('')
  const { trouble, busy, send } = useSending(onClose)
  return (
    <Dialog title={t.subtitlesAdd} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          if (!file) return
          send(async () => {
            await call('PUT /api/v1/films/{application}/{user}/{file}/subtitles/{language}', {
              ...keyOf(film),
              language: language.trim(),
              content: file,
              type: subtitlesTypeOf(file.name)
            })
            say(t.subtitlesAdded)
          })
        }}
      >
        <label>
          <span>{t.subtitlesFile}</span>
          <input
            type="file"
            required
            accept=".vtt,.srt,text/vtt,application/x-subrip"
            onChange={event => {
              const [chosen] = event.currentTarget.files ?? []
              setFile(chosen)
              if (chosen && language === '') setLanguage(languageOfName(chosen.name))
            }}
          />
        </label>
        <label>
          <span>{t.subtitlesLanguage}</span>
          <input
            required
            pattern="[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"
            title={t.subtitlesLanguageHint}
            value={language}
            onInput={event => setLanguage(event.currentTarget.value)}
          />
          <small>{t.subtitlesLanguageHint}</small>
        </label>
        <Trouble text={trouble} />
        <Buttons onClose={onClose} busy={busy || file === undefined} />
      </form>
    </Dialog>
  )
}

function Trouble({ text }: { text: string }) {
  return text === '' ? null : (
    <p class="note bad" role="alert">
      {text}
    </p>
  )
}

function Buttons({ onClose, busy }: { onClose(): void; busy: boolean }) {
  return (
    <div class="row end">
      <button type="button" onClick={onClose}>
        {texts.value.cancel}
      </button>
      <button type="submit" class="primary" disabled={busy}>
        {texts.value.save}
      </button>
    </div>
  )
}

function keyOf({ application, user, file }: Film) {
  return { application, user, file }
}
