/** Films: what is stored, as people see it. */
import Type, { type Static } from 'typebox'

export const FILM_KIND = Type.Enum(['video', 'audio', 'image', 'text', 'other'])
export type FilmKind = Static<typeof FILM_KIND>
export const FILM_SORT = Type.Enum(['newest', 'title', 'size', 'duration'])
export type FilmSort = Static<typeof FILM_SORT>

export const FILM = Type.Object({
  application: Type.String(),
  user: Type.String(),
  file: Type.String(),
  /** Unique per upload, never reused. */
  generation: Type.String(),
  title: Type.String(),
  /** File name as it was uploaded; may be empty. */
  name: Type.String(),
  kind: FILM_KIND,
  mediaType: Type.String(),
  sizeBytes: Type.Integer(),
  /** CRC-32, 8 lower-case hexadecimal digits. */
  crc32: Type.String(),
  /** ISO 8601, UTC. */
  storedAt: Type.String(),
  /** Seconds; null: not known, or without one. */
  durationS: Type.Union([Type.Number(), Type.Null()]),
  width: Type.Union([Type.Integer(), Type.Null()]),
  height: Type.Union([Type.Integer(), Type.Null()]),
  /** `pending`: nobody has looked into it yet; `ready`: facts are known; `none`: no film that can be read. */
  facts: Type.Enum(['pending', 'ready', 'none']),
  /** ISO 8601: in the trash until then, and gone for good afterwards; null: not in the trash. */
  trashedUntil: Type.Union([Type.String(), Type.Null()]),
  /** Addresses, absolute paths. */
  links: Type.Object({
    /** The file itself, in ranges. */
    file: Type.String(),
    /** Page to watch it on. */
    watch: Type.String(),
    hls: Type.Union([Type.String(), Type.Null()]),
    dash: Type.Union([Type.String(), Type.Null()]),
    /** null: it has none. */
    poster: Type.Union([Type.String(), Type.Null()])
  })
})
export type Film = Static<typeof FILM>

export const FILM_PAGE = Type.Object({
  films: Type.Array(FILM),
  /** Give it as `after` to get what follows; null: this was the last page. */
  next: Type.Union([Type.String(), Type.Null()])
})
export type FilmPage = Static<typeof FILM_PAGE>

export const FILMS_QUERY = Type.Object({
  application: Type.Optional(Type.String()),
  /** Only together with `application`. */
  user: Type.Optional(Type.String()),
  kind: Type.Optional(FILM_KIND),
  /** Beginnings of words of the title. */
  search: Type.Optional(Type.String({ maxLength: 200 })),
  /** `true`: those in the trash instead. */
  trashed: Type.Optional(Type.Boolean()),
  sort: Type.Optional(FILM_SORT),
  reverse: Type.Optional(Type.Boolean()),
  after: Type.Optional(Type.String({ maxLength: 2_000 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 }))
})
export type FilmsQuery = Static<typeof FILMS_QUERY>

export const TRACK = Type.Object({
  kind: Type.Enum(['video', 'audio', 'subtitles']),
  /** As RFC 6381 spells it; empty where it is not known. */
  codec: Type.String(),
  language: Type.Optional(Type.String()),
  title: Type.Optional(Type.String()),
  isDefault: Type.Optional(Type.Boolean()),
  width: Type.Optional(Type.Integer()),
  height: Type.Optional(Type.Integer()),
  /** Degrees clockwise. */
  rotation: Type.Optional(Type.Integer()),
  frameRate: Type.Optional(Type.Number()),
  channels: Type.Optional(Type.Integer()),
  sampleRate: Type.Optional(Type.Integer()),
  /** Bits a second. */
  bitRate: Type.Optional(Type.Number()),
  /** Why HLS and DASH go without it, in words. */
  refusal: Type.Optional(Type.String())
})
export type Track = Static<typeof TRACK>

export const SUBTITLES = Type.Object({
  /** Names it below /subtitles/…: `en`, `zh`, `en-2`. */
  id: Type.String(),
  /** BCP 47. */
  language: Type.String(),
  label: Type.String(),
  url: Type.String()
})
export type Subtitles = Static<typeof SUBTITLES>

export const DERIVED_FILE = Type.Object({
  what: Type.String(),
  sizeBytes: Type.Integer(),
  storedAt: Type.String()
})
export type DerivedFile = Static<typeof DERIVED_FILE>

export const FILM_DETAILS = Type.Object({
  film: FILM,
  media: Type.Union([
    Type.Object({
      /** `mp4`, `mkv`, … */
      container: Type.String(),
      durationS: Type.Number(),
      bitRate: Type.Number(),
      tracks: Type.Array(TRACK),
      tags: Type.Record(Type.String(), Type.String())
    }),
    Type.Null()
  ]),
  /** Why it cannot be streamed by HLS and DASH; null: it can, or nobody has looked yet. */
  notStreamable: Type.Union([Type.String(), Type.Null()]),
  subtitles: Type.Array(SUBTITLES),
  /** WebVTT of the pictures for the seek bar. */
  thumbnails: Type.Union([Type.String(), Type.Null()]),
  /** Heights of the renditions beside the film itself. */
  renditions: Type.Array(Type.Object({ profile: Type.String(), sizeBytes: Type.Integer() })),
  derived: Type.Array(DERIVED_FILE)
})
export type FilmDetails = Static<typeof FILM_DETAILS>

export const FILM_CHANGE = Type.Object({ title: Type.String({ minLength: 1, maxLength: 250 }) })

export const OWNERS = Type.Object({
  owners: Type.Array(Type.Object({ application: Type.String(), user: Type.String() }))
})

export const DELETE_QUERY = Type.Object({
  /** `true`: not into the trash, but for good. */
  forever: Type.Optional(Type.Boolean())
})

/** What was deleted from the trash. */
export const EMPTIED = Type.Object({ files: Type.Integer(), more: Type.Boolean() })

export const SUBTITLES_QUERY = Type.Object({
  label: Type.Optional(Type.String({ maxLength: 100 }))
})

export const USAGE_QUERY = Type.Object({ application: Type.String(), user: Type.Optional(Type.String()) })
export const USAGE = Type.Object({
  files: Type.Integer(),
  bytes: Type.Integer(),
  trashedFiles: Type.Integer(),
  trashedBytes: Type.Integer()
})
