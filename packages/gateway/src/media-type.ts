/** What a stored file may be shown as. Uploads come from strangers: what could run in a browser never does. */
import mime from 'mime'

export const UNKNOWN_TYPE = 'application/octet-stream'
/** type/subtype with parameters, all of it safe in a header. */
const WELL_FORMED =
  /^[\w!#$&^.+-]{1,64}\/[\w!#$&^.+-]{1,64}(?:[ \t]*;[ \t]*[\w!#$&^.+-]{1,64}=(?:[\w!#$&^.+-]{1,64}|"[\w !#$&'()*+,./:;<=>?@[\]^{|}~-]{0,128}"))*$/
/** Types that browsers show without ever running anything out of them; everything else is an attachment. */
const INERT =
  /^(?:video\/|audio\/|image\/|text\/(?:plain|vtt|srt|csv)$|application\/(?:octet-stream|pdf|json|ogg|mp4|x-subrip|vnd\.apple\.mpegurl|x-mpegurl)$)/
/** What programs send by default, whatever the content is; the last one browsers on Linux take MPEG-TS films (.ts) for. */
const MEANINGLESS = new Set([
  UNKNOWN_TYPE,
  'application/x-www-form-urlencoded',
  'text/vnd.trolltech.linguist'
])
/** What a page of this server could load as part of itself, if somebody made it do so; under another type no browser takes it. */
const LOADABLE = /javascript|ecmascript|jscript|livescript|text\/css|application\/wasm|x-?json-?p/
const MARKUP = /(?:\+|\/)xml$|html|svg/

/** The media type without parameters, in lower case. */
export function essence(mediaType: string): string {
  const semicolon = mediaType.indexOf(';')
  return (semicolon < 0 ? mediaType : mediaType.slice(0, semicolon)).trim().toLowerCase()
}

/**
 * The Content-Type to answer with: what is stored, else what the name or the id suggests.
 *
 * @param names  tried in turn for a known extension.
 */
export function contentTypeOf(stored: string, ...names: string[]): string {
  let type = WELL_FORMED.test(stored) ? stored : UNKNOWN_TYPE
  if (essence(type) === UNKNOWN_TYPE) {
    for (const name of names) {
      const guess = guessType(name)
      if (guess === undefined) continue
      type = guess
      break
    }
  }
  return type.startsWith('text/') && !/;\s*charset=/i.test(type) ? `${type}; charset=utf-8` : type
}

/** The Content-Type under which it is sent: what a page could load as a script or a style is nothing in particular. */
export function servedTypeOf(contentType: string): string {
  return LOADABLE.test(essence(contentType)) ? UNKNOWN_TYPE : contentType
}

/** True: only as an attachment, in a sandbox. */
export function isActive(contentType: string): boolean {
  const type = essence(contentType)
  return MARKUP.test(type) || !INERT.test(type)
}

/** The type that an upload declares, or undefined where it says nothing: storage then looks at the content. */
export function declaredType(header: string | undefined): string | undefined {
  if (header === undefined || !WELL_FORMED.test(header)) return undefined
  const type = essence(header)
  return MEANINGLESS.has(type) ? undefined : header
}

/** By extension: `film.mkv` → `video/matroska`. */
export function guessType(name: string): string | undefined {
  return name.includes('.') ? (mime.getType(name) ?? undefined) : undefined
}

/** `film.MKV` → `mkv`; empty where there is none that is safe in an id. */
export function extensionOf(name: string): string {
  return (/\.([a-z0-9]{1,8})$/i.exec(name)?.[1] ?? '').toLowerCase()
}
