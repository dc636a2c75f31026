/**
 * What others than people read of a film's page: Open Graph for the card under a link, oEmbed for those who put the player
 * into their own page. Everything in it comes from strangers' names and is escaped here, and nowhere else.
 */
import { signedPath } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'

/** Of the player's frame, where its reader does not say what fits. */
const FRAME_WIDTH = 960
const FRAME_HEIGHT = 540
const FRAME_PIXELS_MIN = 120
const FRAME_PIXELS_MAX = 7_680
const TITLE_CHARACTERS_MAX = 200

export interface WatchedFilm {
  key: FileKey
  title: string
  /** Undefined: not known, or of something without a picture. */
  width?: number | undefined
  height?: number | undefined
  durationS?: number | undefined
  hasPoster: boolean
  /** By what whoever asks came to a film that is not everybody's: its addresses let others in by the same, and by no more. */
  wayIn?: WayIn | undefined
}

export interface WayIn {
  /** As it stands behind the address of the page: `signature=…` or `share=…`. */
  query: string
  /** That opens what belongs to the film. */
  signature: string
}

/** https://oembed.com, 2.3.4.2: a video. */
export interface OEmbed {
  version: '1.0'
  type: 'video'
  title: string
  provider_name: string
  provider_url: string
  width: number
  height: number
  html: string
  thumbnail_url?: string
  thumbnail_width?: number
  thumbnail_height?: number
}

/** `/watch/…` and its like: application, user and file, each percent-encoded. */
export function filmPath(prefix: string, { application, user, file }: FileKey): string {
  return `/${prefix}/${[application, user, file].map(encodeId).join('/')}`
}

/** @param base  scheme and host as the reader knows them, without a slash at the end. */
export function watchHead(film: WatchedFilm, base: string): string {
  const title = titleOf(film)
  const page = base + pagePath('watch', film)
  const frame = base + pagePath('embed', film)
  const oembed = `${base}/oembed?${new URLSearchParams({ url: page, format: 'json' })}`
  const { width, height } = frameSize(film, undefined, undefined)
  const properties: [string, string][] = [
    ['og:type', 'video.other'],
    ['og:site_name', 'Tributary'],
    ['og:title', title],
    ['og:url', page],
    ['og:video', frame],
    ['og:video:type', 'text/html'],
    ['og:video:width', String(width)],
    ['og:video:height', String(height)]
  ]
  if (film.durationS !== undefined) properties.push(['og:video:duration', String(Math.round(film.durationS))])
  if (film.hasPoster) properties.push(['og:image', base + posterPath(film)])
  return [
    ...properties.map(([name, value]) => `<meta property="${name}" content="${escape(value)}" />`),
    `<meta name="twitter:card" content="${film.hasPoster ? 'summary_large_image' : 'summary'}" />`,
    `<link rel="canonical" href="${escape(page)}" />`,
    `<link rel="alternate" type="application/json+oembed" href="${escape(oembed)}" title="${escape(title)}" />`
  ].join('\n    ')
}

/** @param maxWidth, maxHeight  pixels that the reader has, if it says so. */
export function oEmbedOf(
  film: WatchedFilm,
  base: string,
  { maxWidth, maxHeight }: { maxWidth?: number | undefined; maxHeight?: number | undefined }
): OEmbed {
  const size = frameSize(film, maxWidth, maxHeight)
  const title = titleOf(film)
  const source = escape(base + pagePath('embed', film))
  const poster = film.hasPoster ? base + posterPath(film) : undefined
  return {
    version: '1.0',
    type: 'video',
    title,
    provider_name: 'Tributary',
    provider_url: base,
    ...size,
    html: `<iframe src="${source}" width="${size.width}" height="${size.height}" title="${escape(title)}" frameborder="0" allow="autoplay; fullscreen; picture-in-picture" allowfullscreen></iframe>`,
    // Thumbnail's size comes with its address, or not at all.
    ...(poster !== undefined && {
      thumbnail_url: poster,
      thumbnail_width: film.width ?? FRAME_WIDTH,
      thumbnail_height: film.height ?? FRAME_HEIGHT
    })
  }
}

function pagePath(prefix: 'watch' | 'embed', { key, wayIn }: WatchedFilm): string {
  return filmPath(prefix, key) + (wayIn ? `?${wayIn.query}` : '')
}

function posterPath({ key, wayIn }: WatchedFilm): string {
  const path = filmPath('poster', key)
  return wayIn ? signedPath(wayIn.signature, path) : path
}

function titleOf({ title, key }: WatchedFilm): string {
  const shown = title === '' ? key.file : title
  return Array.from(shown).slice(0, TITLE_CHARACTERS_MAX).join('')
}

function frameSize(
  { width: filmWidth = FRAME_WIDTH, height: filmHeight = FRAME_HEIGHT }: WatchedFilm,
  maxWidth = FRAME_WIDTH,
  maxHeight = FRAME_PIXELS_MAX
): { width: number; height: number } {
  const bounded = (pixels: number): number => Math.min(FRAME_PIXELS_MAX, Math.max(FRAME_PIXELS_MIN, pixels))
  const ratio = filmWidth > 0 && filmHeight > 0 ? filmHeight / filmWidth : FRAME_HEIGHT / FRAME_WIDTH
  const width = Math.min(bounded(maxWidth), Math.round(bounded(maxHeight) / ratio))
  return { width, height: Math.round(width * ratio) }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

/** For text and for attributes in quotes; what no document may hold becomes a replacement character. */
function escape(text: string): string {
  return (
    text
      .toWellFormed()
      // oxlint-disable-next-line no-control-regex -- these are the characters that are meant
      .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '\ufffd')
      .replaceAll(/[&<>"']/g, letter => ESCAPES[letter]!)
  )
}

function encodeId(id: string): string {
  return encodeURIComponent(id).replaceAll("'", '%27')
}
