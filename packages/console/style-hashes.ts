// The controls of the player bring their rules in <style> elements, which a Content-Security-Policy without 'unsafe-inline'
// admits by the hash of their text only. They are the same for all films, so that the build can name them.
import { createHash } from 'node:crypto'
import * as controls from 'media-chrome'
import * as menus from 'media-chrome/menu'

interface Control {
  getTemplateHTML(attributes: Record<string, string>, properties: Record<string, unknown>): string
}

/** `'sha256-…'` of every `<style>` that a control can have, sorted. */
export function styleHashes(): string[] {
  const found = new Set<string>()
  for (const control of Object.values({ ...controls, ...menus })) {
    if (!isControl(control)) continue
    const html = control.getTemplateHTML({}, {})
    for (const [, text = ''] of html.matchAll(/<style[^>]*>([\s\S]*?)<\/style>/g))
      found.add(`'sha256-${createHash('sha256').update(text).digest('base64')}'`)
  }
  return [...found].sort()
}

function isControl(value: unknown): value is Control {
  return typeof value === 'function' && typeof (value as Partial<Control>).getTemplateHTML === 'function'
}
