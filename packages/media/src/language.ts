/** Languages as containers have them (ISO 639-2, both kinds of it) and as players and people want them. */

/** BCP 47, with the shortest code there is: `ger` → `de`; undefined: not said, or no language. */
export function languageTag(language: string): string | undefined {
  if (language === 'und') return undefined
  try {
    return Intl.getCanonicalLocales(language)[0]
  } catch {
    return undefined
  }
}

/** A language in its own words: `de` → `Deutsch`. */
export function languageName(language: string): string {
  try {
    return new Intl.DisplayNames([language], { type: 'language' }).of(language) ?? language
  } catch {
    return language
  }
}
