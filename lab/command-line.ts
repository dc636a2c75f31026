/** Command lines of unit files, as systemd.service(5) cuts them into words. */

export interface CommandLine {
  readonly words: readonly string[]
  /** `-` before it: its failure is none. */
  readonly mayFail: boolean
  /** `+` or `!` before it: as root, whatever User= says. */
  readonly asRoot: boolean
}

type Values = Readonly<Record<string, string | undefined>>

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  s: ' ',
  '\\': '\\',
  '"': '"',
  "'": "'"
}

/**
 * @param text       value of an Exec…= key
 * @param values     for `$NAME` (a word of its own, cut at blanks) and `${NAME}` (anywhere, not cut)
 * @param specifiers letter → text, for `%n` and its like; `%%` is a percent sign
 */
export function parseCommandLine(text: string, values: Values, specifiers: Values): CommandLine {
  const prefix = /^[-@:+!|]*/.exec(text)![0]
  const words = splitWords(text.slice(prefix.length)).flatMap(word => {
    const named = expandSpecifiers(word, specifiers)
    const whole = /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(named)
    if (whole) return (values[whole[1]!] ?? '').split(/\s+/).filter(Boolean)
    return [
      named.replace(/\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (all, name: string | undefined) =>
        name === undefined ? (all === '$$' ? '$' : all) : (values[name] ?? '')
      )
    ]
  })
  return { words, mayFail: prefix.includes('-'), asRoot: /[+!]/.test(prefix) }
}

/** @param specifiers letter → text. `%%` is a percent sign, and what is not known stays as it is. */
export function expandSpecifiers(text: string, specifiers: Values): string {
  return text.replace(/%(.)/g, (all, letter: string) => (letter === '%' ? '%' : (specifiers[letter] ?? all)))
}

/** `A=1 "B=2 3"` of Environment=, and the words of a command. Quotes hold blanks together and are not kept. */
export function splitWords(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  let quote = ''
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!
    if (character === '\\' && at + 1 < text.length) {
      const next = text[++at]!
      word = (word ?? '') + (ESCAPES[next] ?? `\\${next}`)
    } else if (quote !== '') {
      if (character === quote) quote = ''
      else word += character
    } else if (character === '"' || character === "'") {
      quote = character
      word ??= ''
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else word = (word ?? '') + character
  }
  if (word !== undefined) words.push(word)
  return words
}

/** Lines `NAME=value` of an EnvironmentFile=, with or without quotes. */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const values: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const assignment = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line)
    if (!assignment || /^\s*[#;]/.test(line)) continue
    const value = assignment[2]!.trim()
    values[assignment[1]!] = /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value
  }
  return values
}
