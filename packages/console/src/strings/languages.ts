/** The languages that the console speaks, and which one a reader gets. */
import { en, type Strings } from './en.ts'
import { zh } from './zh.ts'

export type Language = 'en' | 'zh'

export const LANGUAGES: Readonly<Record<Language, Strings>> = { en, zh }
/** As each calls itself. */
export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = { en: 'English', zh: '中文' }

/** The first language of the reader that there is; English otherwise. */
export function pickLanguage(preferred: readonly string[]): Language {
  for (const tag of preferred) {
    const language = tag.toLowerCase().split('-')[0]!
    if (language in LANGUAGES) return language as Language
  }
  return 'en'
}
