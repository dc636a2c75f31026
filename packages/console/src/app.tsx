/** The frame around all pages. */
import { useEffect, useRef } from 'preact/hooks'
import { readAbout } from './api/films.ts'
import { home, trouble } from './library/library.ts'
import { LibraryPage } from './library/library-page.tsx'
import { signal } from '@preact/signals'
import { Confirmation } from './parts/confirm.tsx'
import { sentenceOf } from './parts/failure.ts'
import { Icon, type IconName } from './parts/icon.tsx'
import { openDialogs, Sayings } from './parts/sayings.tsx'
import { SettingsMenu } from './pages/settings-menu.tsx'
import { TokenDialog } from './pages/token-dialog.tsx'
import { page } from './place.ts'
import { WatchPage } from './player/watch-page.tsx'
import { addressOf, type Page, type PlainPageName } from './router.ts'
import { texts } from './settings.ts'
import { DropZone } from './uploads/drop-zone.tsx'
import { UploadTray } from './uploads/upload-tray.tsx'
import { uploadBytesMax } from './uploads/uploads.ts'

const NAVIGATION: readonly (readonly [PlainPageName, IconName])[] = [['library', 'film']]

export const version = signal('')

export function App() {
  useEffect(() => {
    readAbout().then(
      about => {
        home.value = about
        uploadBytesMax.value = about.uploadBytesMax
        version.value = about.version
      },
      error => (trouble.value = sentenceOf(error))
    )
  }, [])
  const shown = page.value
  if (shown.name === 'embed') return <WatchPage page={shown} framed />
  return (
    <>
      <a class="skip" href="#content">
        {texts.value.skip}
      </a>
      <Header />
      <Main shown={shown} />
      <UploadTray />
      <DropZone />
      <Confirmation />
      <TokenDialog />
      {openDialogs.value === 0 && <Sayings />}
    </>
  )
}

function Header() {
  const t = texts.value
  return (
    <header class="top">
      <a class="brand" href="/" aria-label={`Tributary: ${t.library}`}>
        <img src="/icon.svg" alt="" width="28" height="28" />
        <span>Tributary</span>
      </a>
      <nav aria-label={t.pages}>
        {NAVIGATION.map(([name, icon]) => (
          <a key={name} href={addressOf({ name })} aria-current={page.value.name === name ? 'page' : undefined}>
            <Icon name={icon} />
            <span>{t[name as 'library']}</span>
          </a>
        ))}
      </nav>
      <SettingsMenu />
    </header>
  )
}

function Main({ shown }: { shown: Page }) {
  const main = useRef<HTMLElement>(null)
  const first = useRef(true)
  useEffect(() => {
    document.title = titleOf(shown)
    // Who cannot see that the page is another one is led to its beginning.
    if (!first.current) main.current?.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true })
    first.current = false
  }, [shown])
  return (
    <main id="content" ref={main} class={`page-${shown.name}`}>
      <Content shown={shown} />
    </main>
  )
}

function Content({ shown }: { shown: Page }) {
  switch (shown.name) {
    case 'library':
      return <LibraryPage />
    case 'watch':
      return <WatchPage page={shown} />
    default:
      return <Nowhere />
  }
}

function Nowhere() {
  const t = texts.value
  return (
    <div class="empty">
      <h1 tabIndex={-1}>{t.nowhere}</h1>
      <p>{t.nowhereHint}</p>
      <a class="button" href="/">
        {t.toLibrary}
      </a>
    </div>
  )
}

function titleOf(shown: Page): string {
  const t = texts.value
  const names: Partial<Record<Page['name'], string>> = {
    library: t.library,
    trash: t.trash,
    cluster: t.cluster,
    jobs: t.jobs,
    access: t.access,
    login: t.logIn
  }
  const name = names[shown.name]
  return name === undefined ? 'Tributary' : `${name} – Tributary`
}
