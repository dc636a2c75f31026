/** The uploads, at the lower edge of every page. */
import { computed, signal } from '@preact/signals'
import { formatBytes, formatSeconds } from '../format.ts'
import { IconButton } from '../parts/button.tsx'
import { Icon } from '../parts/icon.tsx'
import { language, texts } from '../settings.ts'
import type { Strings } from '../strings/en.ts'
import { goOn } from './go-on.ts'
import type { Upload, UploadState } from './queue.ts'
import { queue, uploads } from './uploads.ts'

const isOpen = signal(true)
const ENDED: ReadonlySet<UploadState> = new Set(['stored', 'failed', 'cancelled'])
const hasEnded = computed(() => uploads.value.some(({ state }) => ENDED.has(state)))
const canPause = computed(() => uploads.value.some(({ state }) => state === 'sending' || state === 'waiting'))
const canResume = computed(() => uploads.value.some(({ state }) => state === 'paused'))

const kept = computed(() => uploads.value.filter(({ state, isKept }) => state === 'interrupted' && isKept))

export function UploadTray() {
  const t = texts.value
  const all = uploads.value
  if (all.length === 0) return null
  const open = isOpen.value
  return (
    <section class="tray" id="uploads" aria-labelledby="uploads-title">
      <div class="bar">
        <h2 id="uploads-title">
          {t.uploads} <span class="count">{t.uploadsOf(all.length)}</span>
        </h2>
        {kept.value.length > 0 && (
          <button type="button" class="primary" onClick={() => void goOn(kept.value)}>
            {t.goOn}
          </button>
        )}
        {canPause.value && all.length > 1 && (
          <button type="button" class="quiet" onClick={() => queue.pauseAll()}>
            {t.pauseAll}
          </button>
        )}
        {canResume.value && all.length > 1 && (
          <button type="button" class="quiet" onClick={() => queue.resumeAll()}>
            {t.resumeAll}
          </button>
        )}
        {hasEnded.value && (
          <button type="button" class="quiet" onClick={() => queue.clear()}>
            {t.clear}
          </button>
        )}
        <IconButton
          icon={open ? 'down' : 'up'}
          label={open ? t.hideUploads : t.showUploads}
          onClick={() => (isOpen.value = !open)}
        />
      </div>
      {open && (
        <ul class="upload-list">
          {all.map(upload => (
            <UploadRow key={upload.id} upload={upload} />
          ))}
        </ul>
      )}
    </section>
  )
}

function UploadRow({ upload }: { upload: Upload }) {
  const t = texts.value
  const { id, name, state, isKept, sizeBytes, doneBytes } = upload
  const ended = ENDED.has(state)
  return (
    <li class={`upload is-${state}`}>
      <div class="upload-text">
        <p class="name" dir="auto" title={name}>
          {name}
        </p>
        <p class={state === 'failed' ? 'facts bad' : 'facts'}>{factsOf(upload, t, language.value)}</p>
      </div>
      <div class="actions">
        {(state === 'sending' || state === 'waiting') && (
          <IconButton icon="pause" label={t.pauseOf(name)} onClick={() => queue.pause(id)} />
        )}
        {(state === 'paused' || state === 'retrying') && (
          <IconButton icon="play" label={t.resumeOf(name)} onClick={() => queue.resume(id)} />
        )}
        {state === 'failed' && (
          <IconButton icon="retry" label={t.retryOf(name)} onClick={() => queue.resume(id)} />
        )}
        {state === 'interrupted' &&
          (isKept ? (
            <IconButton icon="play" label={t.resumeOf(name)} onClick={() => void goOn([upload])} />
          ) : (
            <ChooseAgain id={id} name={name} />
          ))}
        {ended ? (
          <IconButton icon="close" label={t.removeOf(name)} onClick={() => queue.remove(id)} />
        ) : (
          <IconButton icon="close" label={t.cancelOf(name)} onClick={() => queue.cancel(id)} />
        )}
      </div>
      {!ended && <progress value={sizeBytes === 0 ? 1 : doneBytes / sizeBytes} max={1} aria-label={name} />}
    </li>
  )
}

function ChooseAgain({ id, name }: { id: number; name: string }) {
  return (
    <label class="icon-button" title={texts.value.resumeOf(name)}>
      <Icon name="file" />
      <input
        type="file"
        class="hidden-input"
        aria-label={texts.value.resumeOf(name)}
        onChange={event => {
          const [file] = event.currentTarget.files ?? []
          if (file) queue.resume(id, file)
        }}
      />
    </label>
  )
}

function factsOf(
  { state, isKept, doneBytes, sizeBytes, bytesPerS, why }: Upload,
  t: Strings,
  language: string
): string {
  const size = formatBytes(sizeBytes, language)
  const done = formatBytes(doneBytes, language)
  switch (state) {
    case 'sending':
      return t.progress(
        done,
        size,
        bytesPerS > 0 ? formatBytes(bytesPerS, language) : '',
        bytesPerS > 0 ? formatSeconds((sizeBytes - doneBytes) / bytesPerS) : ''
      )
    case 'paused':
    case 'retrying':
      return `${t.progress(done, size, '', '')} · ${t[state]}`
    case 'interrupted':
      return why || `${t.progress(done, size, '', '')} · ${isKept ? t.interruptedKept : t.interrupted}`
    case 'stored':
      return `${t.stored} · ${size}`
    case 'failed':
      return t.failed(why)
    case 'waiting':
    case 'storing':
    case 'cancelled':
      return t[state]
  }
}
