/** The frame around all pages. */
import { useEffect, useRef } from 'preact/hooks'
import { readAbout } from './api/about.ts'
import { ApiError } from './api/http.ts'
import { reach, readSession, session } from './api/session.ts'
import { home, trouble } from './library/library.ts'
import { FilmDialogs } from './library/film-dialogs.tsx'
import { LibraryPage } from './library/library-page.tsx'
import { signal } from '@preact/signals'
import { Confirmation } from './parts/confirm.tsx'
import { sentenceOf } from './parts/failure.ts'
import { Icon, type IconName } from './parts/icon.tsx'
import { openDialogs, Sayings } from './parts/sayings.tsx'
import { SettingsMenu } from './pages/settings-menu.tsx'
import { JobsPage } from './pages/jobs-page.tsx'
import { lazy } from './parts/lazy.tsx'
import { LoginDialog, LoginPage } from './pages/login-page.tsx'
import { TrashPage } from './pages/trash-page.tsx'
import { follow, page } from './place.ts'
import { WatchPage } from './player/watch-page.tsx'
import { addressOf, type Page, type PlainPageName } from './router.ts'
import { texts } from './settings.ts'
import { DropZone } from './uploads/drop-zone.tsx'
import { UploadTray } from './uploads/upload-tray.tsx'
import { uploadBytesMax } from './uploads/uploads.ts'

type NavigationName = Exclude<PlainPageName, 'login'>
const NAVIGATION: readonly (readonly [NavigationName, IconName])[] = [
  ['library', 'film'],
  ['trash', 'trash'],
  ['cluster', 'cluster'],
  ['jobs', 'jobs'],
  ['access', 'key']
]

const LazyAccessPage = lazy(async () => (await import('./access/access-page.tsx')).AccessPage)
const LazyClusterPage = lazy(async () => (await import('./cluster/cluster-page.tsx')).ClusterPage)
/** These are for people who are let in without a log-in, or are the log-in itself. */
const OPEN_PAGES: ReadonlySet<Page['name']> = new Set(['login', 'watch', 'embed'])

const version = signal('')

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
    readSession().catch(error => {
      if (!(error instanceof ApiError)) throw error
    })
  }, [])
  const shown = page.value
  const needsLogin = session.value?.needsLogin === true && !OPEN_PAGES.has(shown.name)
  useEffect(() => {
    if (needsLogin)
      follow(`/login?to=${encodeURIComponent(location.pathname + location.search)}`, { replace: true })
  }, [needsLogin])
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
      <FilmDialogs />
      <LoginDialog />
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
        {NAVIGATION.filter(([name]) => name !== 'access' || reach.value.tabs.length > 0).map(
          ([name, icon]) => (
            <a
              key={name}
              href={addressOf({ name })}
              aria-current={page.value.name === name ? 'page' : undefined}
            >
              <Icon name={icon} />
              <span>{t[name]}</span>
            </a>
          )
        )}
      </nav>
      <SettingsMenu version={version.value} />
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
    case 'trash':
      return <TrashPage />
    case 'cluster':
      return <LazyClusterPage />
    case 'jobs':
      return <JobsPage />
    case 'access':
      return <LazyAccessPage />
    case 'login':
      return <LoginPage />
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
