import { byId, copy, make } from './elements.js'
import { kindOf, reasonsFor } from './playability.js'

/** Plays one file in a dialog, and says why where it cannot. */
export class Player {
  #api
  #texts
  #dialog = byId('player')

  constructor({ api, texts }) {
    this.#api = api
    this.#texts = texts
    const link = byId('player-link')
    byId('player-copy').addEventListener('click', () => copy(link.value, texts, link))
    link.addEventListener('focus', () => link.select())
    this.#dialog.querySelector('[data-close]').addEventListener('click', () => this.#dialog.close())
    this.#dialog.addEventListener('click', event => {
      if (event.target === this.#dialog) this.#dialog.close() // the backdrop
    })
    this.#dialog.addEventListener('close', () => this.#end())
  }

  play(entry) {
    // An apostrophe is left alone in URLs, and would end the text in the command line below.
    const url = new URL(entry.url, location.href).href.replaceAll("'", '%27')
    byId('player-title').textContent = entry.name || entry.file
    byId('player-link').value = url
    this.#explain([])
    const kind = kindOf(entry)
    const media = make(kind === 'audio' ? 'audio' : 'video', {
      controls: true,
      autoplay: true,
      playsInline: true,
      preload: 'metadata',
      'aria-label': entry.name || entry.file
    })
    media.addEventListener('error', async () => {
      const code = media.error?.code ?? 0
      const status = await this.#api.statusOf(entry.url)
      if (!media.isConnected) return
      this.#explain(reasonsFor(entry, code, status), url)
      this.#end() // its empty frame would look as if something were still to come
      byId('player-copy').focus()
    })
    media.addEventListener('loadedmetadata', () => {
      if (kind === 'video' && media.videoWidth === 0) this.#explain(['reasonSoundOnly', 'advice'], url)
    })
    media.src = entry.url
    byId('stage').replaceChildren(media)
    this.#dialog.showModal()
    media.focus()
  }

  #explain(keys, url = '') {
    const box = byId('reason')
    box.hidden = keys.length === 0
    box.replaceChildren(...keys.map(key => make('p', { textContent: this.#texts[key] })))
    if (keys.includes('advice')) box.append(make('pre', {}, make('code', { textContent: `mpv '${url}'` })))
  }

  #end() {
    const media = byId('stage').firstElementChild
    if (!media) return
    media.remove()
    media.pause()
    media.removeAttribute('src')
    media.load() // ends the download
  }
}
