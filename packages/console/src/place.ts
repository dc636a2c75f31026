/** Where the visitor is: the browser's history, as a signal. */
import { signal } from '@preact/signals'
import { pageOf, type Page } from './router.ts'

let path = location.pathname
export const page = signal<Page>(pageOf(path))
/** Of the address, for what a page remembers in it. */
export const query = signal(location.search)

export function follow(address: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, '', address)
  else {
    history.pushState(null, '', address)
    scrollTo(0, 0)
  }
  read()
}

/** Keeps the signals true to the address; links of our own are followed without loading the page anew. */
export function watchPlace(): void {
  addEventListener('popstate', read)
  document.addEventListener('click', event => {
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (!link || event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    if (link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return
    if (pageOf(link.pathname).name === 'nowhere') return
    event.preventDefault()
    if (link.pathname + link.search !== location.pathname + location.search)
      follow(link.pathname + link.search)
  })
}

function read(): void {
  // Another question to the same page is no other page: whoever types in it goes on typing.
  if (location.pathname !== path) page.value = pageOf((path = location.pathname))
  query.value = location.search
}
