/** The element of index.html with this id. */
export const byId = id => document.getElementById(id)

/**
 * Makes an element. `on…` properties are listeners, `class` and attributes with a dash are attributes, the rest are
 * properties. Text is text, never markup: names of files come from strangers.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'class' || name.includes('-')) element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children.filter(child => child !== undefined))
  return element
}

export function icon(name, solid = false) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('class', solid ? 'icon solid' : 'icon')
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  use.setAttribute('href', `#i-${name}`)
  svg.append(use)
  return svg
}

export function iconButton(name, label, onclick, kind = '') {
  return make(
    'button',
    { type: 'button', class: `icon-button ${kind}`, 'aria-label': label, title: label, onclick },
    icon(name)
  )
}

/** Long enough to be read. */
const SAID_MS = 4_000
let silence

/** Tells what happened, on the screen and to screen readers. */
export function say(text) {
  const said = byId('said')
  clearTimeout(silence)
  // What lies outside of an open dialog is dead to pointers and screen readers alike: it is told within.
  const home = document.querySelector('dialog[open]') ?? document.body
  if (said.parentElement !== home) home.append(said)
  said.hidePopover?.()
  said.showPopover?.()
  said.textContent = text
  silence = setTimeout(() => {
    said.hidePopover?.()
    said.textContent = ''
  }, SAID_MS)
}

export async function copy(text, texts, input) {
  try {
    await navigator.clipboard.writeText(text)
    say(texts.copied)
  } catch {
    // Browsers give the clipboard to secure pages only; a page on the local network is none.
    if (legacyCopy(text)) return say(texts.copied)
    input?.select()
    say(texts.copyFailed)
  }
}

function legacyCopy(text) {
  const area = make('textarea', { value: text, class: 'hidden' })
  const home = document.querySelector('dialog[open]') ?? document.body
  home.append(area)
  area.select()
  const done = document.execCommand('copy')
  area.remove()
  return done
}
