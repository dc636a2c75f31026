/** Search, order and filters of the library. */
import { signal } from '@preact/signals'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { Icon } from '../parts/icon.tsx'
import { query } from '../place.ts'
import { texts } from '../settings.ts'
import type { Strings } from '../strings/en.ts'
import { ask, wish } from './library.ts'
import { KINDS, SORTS, sortOf, type SortName } from './wish.ts'

/** Who types is not answered at every letter. */
const TYPING_MS = 250

interface Owner {
  application: string
  user: string
}
const owners = signal<readonly Owner[]>([])

export function Search() {
  const t = texts.value
  const asked = wish.value.search
  const [text, setText] = useState(asked)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => setText(asked), [asked])
  return (
    <form
      class="search"
      role="search"
      onSubmit={event => {
        event.preventDefault()
        clearTimeout(timer.current)
        ask({ q: text.trim() })
      }}
    >
      <Icon name="search" />
      <input
        type="search"
        aria-label={t.searchFilms}
        placeholder={t.searchFilms}
        maxLength={200}
        value={text}
        onInput={event => {
          const typed = event.currentTarget.value
          setText(typed)
          clearTimeout(timer.current)
          timer.current = setTimeout(() => ask({ q: typed.trim() }), TYPING_MS)
        }}
      />
    </form>
  )
}

export function SortChoice() {
  const t = texts.value
  const names: Record<SortName, string> = {
    newest: t.sortNewest,
    oldest: t.sortOldest,
    title: t.sortTitle,
    largest: t.sortLargest,
    longest: t.sortLongest
  }
  return (
    <select
      aria-label={t.sort}
      value={sortOf(query.value)}
      onChange={event =>
        ask({ sort: event.currentTarget.value === 'newest' ? '' : event.currentTarget.value })
      }
    >
      {Object.keys(SORTS).map(name => (
        <option key={name} value={name}>
          {names[name as SortName]}
        </option>
      ))}
    </select>
  )
}

export function Filters() {
  const t = texts.value
  const { application, user, kind } = wish.value
  const listId = useId()
  const [open, setOpen] = useState(application !== '')
  useEffect(() => {
    call('GET /api/v1/owners', {}).then(
      answer => (owners.value = answer.owners),
      () => {} // they only help to type
    )
  }, [])
  const applications = [...new Set(owners.value.map(owner => owner.application))]
  const users = [
    ...new Set(owners.value.filter(owner => owner.application === application).map(owner => owner.user))
  ]
  return (
    <div class="filters" role="group" aria-label={t.filters}>
      <div class="chips" role="group" aria-label={t.type}>
        {(['', ...KINDS] as const).map(name => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={kind === name}
            onClick={() => ask({ kind: name })}
          >
            {kindName(name, t)}
          </button>
        ))}
      </div>
      <button
        type="button"
        class="quiet fold"
        aria-expanded={open}
        aria-controls={`${listId}-owner`}
        onClick={() => setOpen(!open)}
      >
        <Icon name="filter" />
        <span>{t.filters}</span>
      </button>
      <div id={`${listId}-owner`} class={open ? 'owner is-open' : 'owner'}>
        <label class="inline">
          <span>{t.application}</span>
          <input
            list={`${listId}-apps`}
            name="application"
            value={application}
            placeholder={t.any}
            pattern="[A-Za-z0-9]{1,15}"
            autocomplete="off"
            onChange={event => {
              if (event.currentTarget.checkValidity())
                ask({ app: event.currentTarget.value.trim(), user: '' })
            }}
          />
          <datalist id={`${listId}-apps`}>
            {applications.map(name => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <label class="inline">
          <span>{t.user}</span>
          <input
            list={`${listId}-users`}
            name="user"
            value={user}
            placeholder={t.any}
            disabled={application === ''}
            maxLength={255}
            autocomplete="off"
            onChange={event => ask({ user: event.currentTarget.value.trim() })}
          />
          <datalist id={`${listId}-users`}>
            {users.map(name => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        {(application !== '' || kind !== '') && (
          <button type="button" class="quiet" onClick={() => ask({ app: '', user: '', kind: '' })}>
            {t.clearFilters}
          </button>
        )}
      </div>
    </div>
  )
}

function kindName(kind: (typeof KINDS)[number] | '', t: Strings): string {
  if (kind === '') return t.any
  return { video: t.typeVideo, audio: t.typeAudio, image: t.typeImage, text: t.typeText, other: t.typeOther }[
    kind
  ]
}
