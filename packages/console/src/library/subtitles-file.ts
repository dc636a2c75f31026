/** What the name of a file of subtitles tells. */

/** `Film.de-CH.srt` → `de-CH`; empty where it says nothing. */
export function languageOfName(name: string): string {
  const [, language = ''] = /[._-]([a-z]{2,3}(?:-[A-Za-z0-9]{2,8})?)\.(?:vtt|srt)$/i.exec(name) ?? []
  return language
}

export function subtitlesTypeOf(name: string): string {
  return /\.srt$/i.test(name) ? 'application/x-subrip' : 'text/vtt'
}
