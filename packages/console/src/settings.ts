/** What a visitor chose, kept in this browser. */
import { computed, effect, signal } from '@preact/signals'
import { LANGUAGES, pickLanguage, type Language } from './strings/languages.ts'

export type Look = 'system' | 'light' | 'dark'

export const language = signal<Language>(pickLanguage([read('language'), ...navigator.languages]))
export const look = signal<Look>(readLook())
export const texts = computed(() => LANGUAGES[language.value])

export function choose(what: { language?: Language; look?: Look }): void {
  if (what.language) {
    language.value = what.language
    write('language', what.language)
  }
  if (what.look) {
    look.value = what.look
    write('look', what.look)
  }
}

/** Keeps the document true to them. */
export function applySettings(): void {
  effect(() => {
    document.documentElement.lang = language.value === 'zh' ? 'zh-Hans' : 'en'
  })
  effect(() => {
    if (look.value === 'system') delete document.documentElement.dataset['look']
    else document.documentElement.dataset['look'] = look.value
  })
}

/** Browsers may keep nothing for us: then it is forgotten, and nothing else happens. */
export function read(name: string): string {
  try {
    return localStorage.getItem(`tributary-${name}`) ?? ''
  } catch {
    return ''
  }
}

export function write(name: string, value: string): void {
  try {
    if (value === '') localStorage.removeItem(`tributary-${name}`)
    else localStorage.setItem(`tributary-${name}`, value)
  } catch {
    // see read
  }
}

function readLook(): Look {
  const kept = read('look')
  return kept === 'light' || kept === 'dark' ? kept : 'system'
}
