import { byId, iconButton, icon, make, say } from './elements.js'
import { formatBytes, formatSeconds } from './format.js'
import { RateMeter } from './rate-meter.js'

/** More at a time only share the same line. */
const AT_ONCE_MAX = 2
const STORED_SHOWN_MS = 6_000

/** The queue of uploads, and its rows on the page. */
export class Uploads {
  #api
  #texts
  #language
  #bytesMax
  #onStored
  #waiting = []
  #running = 0
  #finished = new Set()

  constructor({ api, texts, language, bytesMax, onStored }) {
    this.#api = api
    this.#texts = texts
    this.#language = language
    this.#bytesMax = bytesMax
    this.#onStored = onStored
    byId('clear').addEventListener('click', () => this.#clear())
  }

  get busy() {
    return this.#running + this.#waiting.length > 0
  }

  add(files) {
    for (const file of files) {
      const task = this.#row(file)
      if (file.size > this.#bytesMax) {
        this.#settle(
          task,
          this.#texts.failed(this.#texts.tooLarge(formatBytes(this.#bytesMax, this.#language))),
          true
        )
      } else this.#waiting.push(task)
    }
    byId('uploads').hidden = byId('upload-list').childElementCount === 0
    this.#next()
  }

  #next() {
    while (this.#running < AT_ONCE_MAX && this.#waiting.length > 0) void this.#run(this.#waiting.shift())
  }

  async #run(task) {
    this.#running++
    const { file, abort, facts, progress } = task
    const rate = new RateMeter()
    const show = doneBytes => {
      rate.add(doneBytes, performance.now())
      progress.value = file.size === 0 ? 1 : doneBytes / file.size
      if (doneBytes >= file.size) {
        facts.textContent = this.#texts.storing
        return
      }
      const perS = rate.bytesPerS
      facts.textContent = this.#texts.progress(
        formatBytes(doneBytes, this.#language),
        formatBytes(file.size, this.#language),
        perS > 0 ? formatBytes(perS, this.#language) : '',
        perS > 0 ? formatSeconds((file.size - doneBytes) / perS) : ''
      )
    }
    show(0)
    try {
      const entry = await this.#api.upload(file, { signal: abort.signal, onProgress: show })
      this.#settle(task, `${this.#texts.done} · ${formatBytes(file.size, this.#language)}`, false)
      say(this.#texts.uploaded(file.name))
      // The library has it now; what failed stays until it was seen.
      setTimeout(() => this.#remove(task.row), STORED_SHOWN_MS)
      this.#onStored(entry)
    } catch (error) {
      const text = abort.signal.aborted
        ? this.#texts.cancelled
        : this.#texts.failed(error.message || this.#texts.lost)
      this.#settle(task, text, !abort.signal.aborted)
    } finally {
      this.#running--
      this.#next()
    }
  }

  #row(file) {
    const abort = new AbortController()
    const facts = make('p', { class: 'facts', textContent: this.#texts.waiting })
    const progress = make('progress', { value: 0, max: 1, 'aria-label': file.name })
    const actions = make('div', { class: 'actions' })
    const row = make(
      'li',
      { class: 'entry upload' },
      make('span', { class: 'thumb' }, icon('up')),
      make('div', {}, make('p', { class: 'name', textContent: file.name }), facts),
      actions,
      progress
    )
    const task = { file, abort, facts, progress, actions, row }
    actions.append(
      iconButton('close', this.#texts.cancelOf(file.name), () => {
        abort.abort(new Error('cancelled'))
        const at = this.#waiting.indexOf(task)
        if (at < 0) return
        this.#waiting.splice(at, 1)
        this.#settle(task, this.#texts.cancelled, false)
      })
    )
    byId('upload-list').append(row)
    return task
  }

  #settle(task, text, bad) {
    const { facts, progress, actions, row, file } = task
    facts.textContent = text
    facts.classList.toggle('bad', bad)
    progress.remove()
    actions.replaceChildren(iconButton('close', this.#texts.removeOf(file.name), () => this.#remove(row)))
    this.#finished.add(row)
    byId('clear').hidden = false
  }

  #remove(row) {
    row.remove()
    this.#finished.delete(row)
    byId('clear').hidden = this.#finished.size === 0
    byId('uploads').hidden = byId('upload-list').childElementCount === 0
  }

  #clear() {
    for (const row of this.#finished) this.#remove(row)
    byId('choose-button').focus()
  }
}
