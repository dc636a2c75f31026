import { Api, readAbout } from './api.js'
import { byId } from './elements.js'
import { Library } from './library.js'
import { Player } from './player.js'
import { pickLanguage, stringsOf } from './strings.js'
import { Uploads } from './uploads.js'

const language = pickLanguage(navigator.languages)
const texts = stringsOf(language)
document.documentElement.lang = language
for (const element of document.querySelectorAll('[data-text]'))
  element.textContent = texts[element.dataset.text]
for (const element of document.querySelectorAll('[data-label]')) {
  element.setAttribute('aria-label', texts[element.dataset.label])
  element.title = texts[element.dataset.label]
}

byId('token-cancel').addEventListener('click', () => byId('token').close())

/** The token dialog that is open, if one is. */
let asking

try {
  await start()
} catch (error) {
  byId('trouble').textContent = texts.listFailed(error.message || texts.offline)
  byId('trouble').hidden = false
}

async function start() {
  const about = await readAbout()
  const query = new URLSearchParams(location.search)
  const place = { application: query.get('app') || about.application, user: query.get('user') || about.user }
  byId('place').textContent = `${place.application} / ${place.user}`
  byId('version').textContent = `Tributary ${about.version}`

  const api = new Api(place, askToken)
  const player = new Player({ api, texts })
  const library = new Library({ api, texts, language, play: entry => player.play(entry) })
  const uploads = new Uploads({
    api,
    texts,
    language,
    bytesMax: about.uploadBytesMax,
    onStored: entry => library.add(entry)
  })
  takeFiles(uploads)
  switchPlace(place)
  addEventListener('beforeunload', event => {
    if (uploads.busy) event.preventDefault()
  })
  await library.load()
}

function takeFiles(uploads) {
  const choose = byId('choose')
  byId('choose-button').addEventListener('click', () => choose.click())
  choose.addEventListener('change', () => {
    uploads.add([...choose.files])
    choose.value = '' // the same file may be chosen again
  })
  const hasFiles = event => event.dataTransfer?.types.includes('Files')
  let depth = 0
  const mark = () => document.body.classList.toggle('dragging', depth > 0)
  addEventListener('dragenter', event => {
    if (!hasFiles(event)) return
    depth++
    mark()
  })
  addEventListener('dragleave', event => {
    if (!hasFiles(event)) return
    depth = Math.max(0, depth - 1)
    mark()
  })
  addEventListener('dragover', event => {
    if (!hasFiles(event)) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'copy'
  })
  addEventListener('drop', event => {
    if (!hasFiles(event)) return
    event.preventDefault()
    depth = 0
    mark()
    // Folders come as entries without content; they would fail as files.
    const items = [...event.dataTransfer.items]
    const isFolder = index => items[index]?.webkitGetAsEntry?.()?.isDirectory
    uploads.add([...event.dataTransfer.files].filter((_, index) => !isFolder(index)))
  })
}

function switchPlace({ application, user }) {
  const form = byId('switch')
  form.elements.app.value = application
  form.elements.user.value = user
  form.addEventListener('submit', event => {
    event.preventDefault()
    location.search = new URLSearchParams(new FormData(form)).toString()
  })
}

/** Asks once, however many uploads wait for it. */
function askToken(wrong) {
  asking ??= ask(wrong).finally(() => (asking = undefined))
  return asking
}

async function ask(wrong) {
  const dialog = byId('token')
  const input = byId('token-input')
  dialog.querySelector('p').textContent = wrong ? `${texts.tokenWrong} ${texts.tokenHint}` : texts.tokenHint
  input.value = ''
  dialog.returnValue = ''
  dialog.showModal()
  input.focus()
  await new Promise(resolve => dialog.addEventListener('close', resolve, { once: true }))
  return dialog.returnValue === 'yes' ? input.value.trim() : undefined
}
