import { byId, copy, icon, iconButton, make, say } from './elements.js'
import { formatBytes, formatDate } from './format.js'
import { kindOf } from './playability.js'

/** Newest first needs them all; so many come at once, and more on demand. */
const PAGE_FILES = 1_000
const KIND_ICONS = { video: 'film', audio: 'sound', other: 'file' }

/** The list of what is stored. */
export class Library {
  #api
  #texts
  #language
  #play
  #entries = []
  #next = ''

  constructor({ api, texts, language, play }) {
    this.#api = api
    this.#texts = texts
    this.#language = language
    this.#play = play
    byId('more').addEventListener('click', () => this.load())
  }

  async load() {
    byId('more').disabled = true
    byId('trouble').hidden = true
    try {
      const { files, next } = await this.#api.list(this.#next ?? '', PAGE_FILES)
      const known = new Set(this.#entries.map(entry => entry.url))
      this.#entries.push(...files.filter(entry => !known.has(entry.url)))
      this.#next = next
      this.#show()
    } catch (error) {
      byId('trouble').textContent = this.#texts.listFailed(error.message || this.#texts.offline)
      byId('trouble').hidden = false
    } finally {
      byId('more').disabled = false
    }
  }

  add(entry) {
    this.#entries = [entry, ...this.#entries.filter(({ url }) => url !== entry.url)]
    this.#show()
  }

  #show() {
    this.#entries.sort((one, other) =>
      one.storedAt < other.storedAt ? 1 : one.storedAt > other.storedAt ? -1 : 0
    )
    byId('file-list').replaceChildren(...this.#entries.map(entry => this.#row(entry)))
    byId('count').textContent =
      this.#entries.length > 0 ? this.#texts.count(this.#entries.length, this.#next !== null) : ''
    byId('empty').hidden = this.#entries.length > 0
    byId('more').hidden = this.#next === null
  }

  #row(entry) {
    const texts = this.#texts
    const shown = entry.name || entry.file
    const kind = kindOf(entry)
    const playable = kind !== 'other'
    const thumb = playable
      ? make(
          'button',
          {
            type: 'button',
            class: 'thumb',
            'aria-label': texts.play(shown),
            title: texts.play(shown),
            onclick: () => this.#play(entry)
          },
          icon('play', true)
        )
      : make('span', { class: 'thumb' }, icon(KIND_ICONS[kind]))
    const facts = [
      formatBytes(entry.sizeBytes, this.#language),
      typeText(entry, texts),
      formatDate(entry.storedAt, this.#language)
    ]
    return make(
      'li',
      { class: 'entry' },
      thumb,
      make(
        'div',
        {},
        make('p', {
          class: playable ? 'name plays' : 'name',
          textContent: shown,
          dir: 'auto',
          // For the mouse; the button beside it is there for keys and screen readers.
          ...(playable && { onclick: () => this.#play(entry) })
        }),
        make('p', { class: 'facts', textContent: facts.filter(Boolean).join(' · ') })
      ),
      make(
        'div',
        { class: 'actions' },
        iconButton('link', texts.copyOf(shown), () => copy(new URL(entry.url, location.href).href, texts)),
        make(
          'a',
          {
            class: 'icon-button',
            href: `${entry.url}?download`,
            'aria-label': texts.saveOf(shown),
            title: texts.saveOf(shown)
          },
          icon('save')
        ),
        iconButton('delete', texts.deleteOf(shown), () => this.#delete(entry, shown), 'bad')
      )
    )
  }

  async #delete(entry, shown) {
    const dialog = byId('confirm')
    byId('confirm-name').textContent = shown
    dialog.returnValue = ''
    dialog.showModal()
    await new Promise(resolve => dialog.addEventListener('close', resolve, { once: true }))
    if (dialog.returnValue !== 'yes') return
    try {
      await this.#api.delete(entry.url)
    } catch (error) {
      if (error.status !== 404) return say(this.#texts.failed(error.message || this.#texts.offline))
    }
    this.#entries = this.#entries.filter(other => other !== entry)
    this.#show()
    byId('library-title').focus()
    say(this.#texts.deleted(shown))
  }
}

/** "Video · MP4" out of video/mp4. */
function typeText({ mediaType }, texts) {
  const [major = '', minor = ''] = mediaType.split(';')[0].split('/')
  const kind = {
    video: texts.typeVideo,
    audio: texts.typeAudio,
    image: texts.typeImage,
    text: texts.typeText
  }[major]
  const plain = minor.replace(/^(x-|vnd\.)/, '').replace(/^octet-stream$/, '')
  return [kind ?? texts.typeFile, plain in NAMES ? NAMES[plain] : plain.toUpperCase()]
    .filter(Boolean)
    .join(' ')
}

const NAMES = {
  matroska: 'MKV',
  msvideo: 'AVI',
  quicktime: 'MOV',
  mpeg: 'MPEG',
  mp2t: 'MPEG-TS',
  plain: '',
  'ms-wmv': 'WMV'
}
