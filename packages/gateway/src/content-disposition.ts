/** Content-Disposition, both ways: RFC 6266 with RFC 8187. */

/** Names are for people: longer ones are cut. */
export const NAME_BYTES_MAX = 255
// Control characters, and those that turn the order of text around to disguise an extension.
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffd]/gu

/** The header's value. `name` may be anything; path separators and control characters are replaced. */
export function contentDisposition(kind: 'inline' | 'attachment', name: string): string {
  const safe = name.replace(UNSAFE, '').replace(/[/\\]/g, '_')
  if (safe === '') return kind
  if (/^[\x20-\x7e]*$/.test(safe) && !/["%]/.test(safe)) return `${kind}; filename="${safe}"`
  // Old receivers get ASCII; `%` would be decoded by some of them.
  const fallback = safe.replace(/[^\x20-\x7e]|["%\\]/gu, '_')
  return `${kind}; filename="${fallback}"; filename*=UTF-8''${encodeExtended(safe)}`
}

/** The file name in an upload's header, or undefined. `filename*` goes before `filename`. */
export function fileNameOf(header: string): string | undefined {
  const [, encoded] = /;\s*filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)/i.exec(header) ?? []
  if (encoded !== undefined) {
    const decoded = decodeText(encoded)
    if (decoded !== undefined) return cleanName(lastPart(decoded))
  }
  const [, quoted, token] = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))/i.exec(header) ?? []
  const plain = quoted?.replace(/\\(.)/g, '$1') ?? token
  return plain === undefined ? undefined : cleanName(lastPart(fromLatin1(plain)))
}

/** X-File-Name: percent-encoded UTF-8, or plain. */
export function plainFileName(header: string): string {
  return cleanName(lastPart((header.includes('%') ? decodeText(header) : undefined) ?? fromLatin1(header)))
}

/** A name without what no name needs, cut to NAME_BYTES_MAX. */
export function cleanName(name: string): string {
  let clean = name.toWellFormed().replace(UNSAFE, '').trim()
  while (Buffer.byteLength(clean) > NAME_BYTES_MAX) clean = Array.from(clean).slice(0, -1).join('')
  return clean
}

/** Programs that send a whole path mean its last part: RFC 6266 §4.3. */
function lastPart(path: string): string {
  return path.split(/[/\\]/).at(-1) ?? ''
}

/** Headers arrive as Latin-1, though most programs send UTF-8. */
function fromLatin1(text: string): string {
  const bytes = Buffer.from(text, 'latin1')
  const utf8 = bytes.toString('utf8')
  return utf8.includes('\ufffd') ? text : utf8
}

function decodeText(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function encodeExtended(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /['()*]/g,
    character => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  )
}
