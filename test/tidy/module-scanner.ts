// A lexer of TypeScript just good enough for the checks: it tells code from comments and strings, and finds imports. The
// compiler's own would bring its whole API for this.

export interface Token {
  kind: 'word' | 'string' | 'mark'
  /** Of a string: its content, unquoted. */
  text: string
  line: number
}

export interface Import {
  specifier: string
  /** `type`: erased at run time. `lazy`: import() at run time. */
  kind: 'value' | 'type' | 'lazy'
  line: number
}

const WORD = /[\p{ID_Start}$_#][\p{ID_Continue}$\u200c\u200d]*/uy
const NUMBER = /\d[\w.]*/y
/** After one of these words a slash begins a regular expression. */
const BEFORE_REGEX = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'void',
  'delete',
  'throw',
  'await',
  'yield',
  'else'
])

export function scan(source: string): Token[] {
  const tokens: Token[] = []
  scanUntil(source, { at: 0, line: 1 }, tokens, false)
  return tokens
}

interface Cursor {
  at: number
  line: number
}

/** Reads to the end, or within a template to the brace that closes its expression. */
function scanUntil(source: string, cursor: Cursor, tokens: Token[], inTemplate: boolean): void {
  let depth = 0
  while (cursor.at < source.length) {
    const char = source[cursor.at]!
    const next = source[cursor.at + 1]
    if (char === '\n') {
      cursor.line++
      cursor.at++
    } else if (/\s/.test(char)) cursor.at++
    else if (char === '/' && next === '/') cursor.at = endOf(source, '\n', cursor.at)
    else if (char === '/' && next === '*') skipTo(cursor, source, endOf(source, '*/', cursor.at + 2) + 2)
    else if (char === '#' && next === '!' && cursor.at === 0) cursor.at = endOf(source, '\n', 0)
    else if (char === "'" || char === '"') tokens.push(quoted(source, cursor, char))
    else if (char === '`') template(source, cursor, tokens)
    else if (char === '/' && regexMayStart(tokens.at(-1))) skipRegex(source, cursor)
    else if (match(WORD, source, cursor.at)) push(tokens, 'word', match(WORD, source, cursor.at)!, cursor)
    else if (match(NUMBER, source, cursor.at)) push(tokens, 'mark', match(NUMBER, source, cursor.at)!, cursor)
    else {
      if (inTemplate && char === '}' && depth === 0) return
      if (char === '{') depth++
      if (char === '}') depth--
      push(tokens, 'mark', char, cursor)
    }
  }
}

function push(tokens: Token[], kind: Token['kind'], text: string, cursor: Cursor): void {
  tokens.push({ kind, text, line: cursor.line })
  cursor.at += text.length
}

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0]
}

function endOf(source: string, mark: string, from: number): number {
  const at = source.indexOf(mark, from)
  return at < 0 ? source.length : at
}

function skipTo(cursor: Cursor, source: string, end: number): void {
  for (; cursor.at < Math.min(end, source.length); cursor.at++) if (source[cursor.at] === '\n') cursor.line++
}

function quoted(source: string, cursor: Cursor, quote: string): Token {
  const line = cursor.line
  let end = cursor.at + 1
  while (end < source.length && source[end] !== quote && source[end] !== '\n')
    end += source[end] === '\\' ? 2 : 1
  const text = source.slice(cursor.at + 1, end)
  skipTo(cursor, source, end + 1)
  return { kind: 'string', text, line }
}

function template(source: string, cursor: Cursor, tokens: Token[]): void {
  const line = cursor.line
  let text = ''
  cursor.at++
  while (cursor.at < source.length && source[cursor.at] !== '`') {
    if (source.startsWith('${', cursor.at)) {
      cursor.at += 2
      scanUntil(source, cursor, tokens, true)
      cursor.at++
      text += '${}'
    } else {
      const length = source[cursor.at] === '\\' ? 2 : 1
      text += source.slice(cursor.at, cursor.at + length)
      skipTo(cursor, source, cursor.at + length)
    }
  }
  cursor.at++
  tokens.push({ kind: 'string', text, line })
}

function regexMayStart(before: Token | undefined): boolean {
  if (before === undefined) return true
  if (before.kind === 'string') return false
  if (before.kind === 'word') return BEFORE_REGEX.has(before.text)
  return !/^[)\]}\d]/.test(before.text)
}

function skipRegex(source: string, cursor: Cursor): void {
  let inClass = false
  cursor.at++
  while (cursor.at < source.length && source[cursor.at] !== '\n') {
    const char = source[cursor.at]
    if (char === '\\') cursor.at++
    else if (char === '[') inClass = true
    else if (char === ']') inClass = false
    else if (char === '/' && !inClass) break
    cursor.at++
  }
  cursor.at++
}

/** Every import and re-export, type-only ones and `import('x')` in types included. */
export function importsOf(source: string): Import[] {
  const tokens = scan(source)
  const found: Import[] = []
  for (const [at, token] of tokens.entries()) {
    if (token.kind !== 'word' || tokens[at - 1]?.text === '.') continue
    const next = tokens[at + 1]
    if (token.text === 'require' && next?.text === '(' && tokens[at + 2]?.kind === 'string') {
      found.push({ specifier: tokens[at + 2]!.text, kind: 'value', line: token.line })
    }
    if (token.text === 'import' && next?.text === '(') {
      if (tokens[at + 2]?.kind === 'string') {
        found.push({ specifier: tokens[at + 2]!.text, kind: 'lazy', line: token.line })
      }
    } else if (token.text === 'import' && next?.kind === 'string') {
      found.push({ specifier: next.text, kind: 'value', line: token.line })
    } else if (token.text === 'import' || token.text === 'export') {
      const specifier = fromClause(tokens, at + 1)
      if (specifier !== undefined) {
        found.push({ specifier, kind: next?.text === 'type' ? 'type' : 'value', line: token.line })
      }
    }
  }
  return found
}

/** The specifier of `… from 'x'`, if what follows `import` or `export` is such a clause and not a declaration. */
function fromClause(tokens: Token[], start: number): string | undefined {
  for (let at = start; at < tokens.length; at++) {
    const token = tokens[at]!
    if (token.text === 'from' && token.kind === 'word' && tokens[at + 1]?.kind === 'string')
      return tokens[at + 1]!.text
    const inClause =
      token.kind === 'word' ? !DECLARES.has(token.text) : token.kind === 'mark' && '{},*'.includes(token.text)
    // a named import may be a string: import { 'a b' as c }
    if (!inClause && token.kind !== 'string') return undefined
  }
  return undefined
}

const DECLARES = new Set([
  'const',
  'let',
  'var',
  'function',
  'class',
  'interface',
  'abstract',
  'async',
  'declare'
])
