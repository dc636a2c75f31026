/** How a title is found and sorted: the same folding for what is stored and for what is searched. */

/** Words kept of one title. */
const WORDS_MAX = 24
const WORD_BYTES_MAX = 48
const SORT_BYTES_MAX = 64
const MARKS = /\p{M}+/gu
const WORD = /[\p{L}\p{N}]+/gu
/** Scripts that put no spaces between words are searched by pairs of characters. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+|[^\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+/gu
const IS_UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u

function fold(text: string): string {
  return text.normalize('NFKD').replaceAll(MARKS, '').toLowerCase()
}

/** In the title's order, each once. */
export function wordsOf(title: string): string[] {
  const words = new Set<string>()
  for (const [run] of fold(title).matchAll(WORD)) {
    for (const [part] of run.matchAll(UNSPACED)) {
      for (const word of IS_UNSPACED.test(part) ? pairsOf(part) : [part]) {
        if (words.size === WORDS_MAX) return [...words]
        words.add(cut(word, WORD_BYTES_MAX).toString())
      }
    }
  }
  return [...words]
}

/** Every pair of neighbours, and the last character, so that a search for one character finds all of its places. */
function pairsOf(run: string): string[] {
  const characters = Array.from(run)
  return characters.map((character, at) => character + (characters[at + 1] ?? ''))
}

/** What a search asks for: each must be the beginning of a word of the title. */
export function searchedWordsOf(text: string): string[] {
  const words = wordsOf(text)
  // "三体" yields 三体 and 体; the last one is in every title that has the pair.
  return words.filter(
    word => !words.some(other => other !== word && other.endsWith(word) && IS_UNSPACED.test(word))
  )
}

export function searchTextOf(words: readonly string[]): string {
  return words.map(word => ` ${word}`).join('')
}

export function sortTitleOf(title: string): Buffer {
  return cut(fold(title).trim(), SORT_BYTES_MAX)
}

/** The longest beginning of whole characters that fits. */
function cut(text: string, bytesMax: number): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.byteLength <= bytesMax) return bytes
  let end = bytesMax
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}
