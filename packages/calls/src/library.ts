/** The library: what is stored, as people look for it. */
import Type, { type Static } from 'typebox'
import { indexCall } from './call.ts'
import { APPLICATION, BYTES, fileKeyFields, FILE_KEY, GENERATION, NOTHING, TIME_MS, USER } from './common.ts'

export const FILM_KINDS = ['video', 'audio', 'image', 'text', 'other'] as const
export type FilmKind = (typeof FILM_KINDS)[number]
export const FILM_SORTS = ['newest', 'title', 'size', 'duration'] as const
export type FilmSort = (typeof FILM_SORTS)[number]
/** Films of one page. */
export const LIBRARY_PAGE_MAX = 200
/** Of a title, in UTF-16 units. */
export const TITLE_LENGTH_MAX = 250
/** Of the media facts as JSON, in UTF-16 units. */
export const FACTS_LENGTH_MAX = 32_000
/** What a person types to search, in UTF-16 units. */
export const SEARCH_LENGTH_MAX = 200
const CURSOR_LENGTH_MAX = 2_000

const KIND = Type.Enum(FILM_KINDS)
const SORT = Type.Enum(FILM_SORTS)

/** `pending`: nobody has looked yet; `ready`: known; `none`: looked at, and no film that can be read. */
export const FACTS_STATES = ['pending', 'ready', 'none'] as const
const FACTS_STATE = Type.Enum(FACTS_STATES)

export const LIBRARY_FILM = Type.Object({
  ...fileKeyFields,
  generation: GENERATION,
  title: Type.String(),
  /** As it was uploaded; may be empty. */
  name: Type.String(),
  kind: KIND,
  mediaType: Type.String(),
  sizeBytes: BYTES,
  crc32: Type.Integer({ minimum: 0, maximum: 0xffff_ffff }),
  group: Type.String(),
  storedAtMs: TIME_MS,
  /** 0: not known, or without a duration. */
  durationMs: TIME_MS,
  /** 0: not known, or no picture. */
  width: Type.Integer({ minimum: 0 }),
  height: Type.Integer({ minimum: 0 }),
  factsState: FACTS_STATE,
  /** 0: not in the trash; else when it is deleted for good. */
  trashedUntilMs: TIME_MS,
  /** Generation of its poster; absent where it has none. */
  poster: Type.Optional(Type.String())
})
export type LibraryFilm = Static<typeof LIBRARY_FILM>

/** A file made from the film, which goes when it goes. */
export const DERIVED = Type.Object({
  /** As in derived-file.ts of the protocol: `index`, `poster.jpg`, … */
  what: Type.String(),
  file: Type.String(),
  generation: GENERATION,
  sizeBytes: BYTES,
  mediaType: Type.String(),
  storedAtMs: TIME_MS
})
export type LibraryDerived = Static<typeof DERIVED>

const PAGE = Type.Object({
  application: Type.Optional(APPLICATION),
  /** Only together with `application`. */
  user: Type.Optional(USER),
  kind: Type.Optional(KIND),
  /** Words of the title; each must begin a word of it. */
  search: Type.Optional(Type.String({ maxLength: SEARCH_LENGTH_MAX })),
  /** Those in the trash instead of those that are not. */
  trashed: Type.Optional(Type.Boolean()),
  sort: SORT,
  /** The other way round: oldest, Z to A, smallest, shortest first. */
  reverse: Type.Optional(Type.Boolean()),
  /** `next` of the page before. */
  after: Type.Optional(Type.String({ maxLength: CURSOR_LENGTH_MAX })),
  limit: Type.Integer({ minimum: 1, maximum: LIBRARY_PAGE_MAX })
})
export type LibraryPageRequest = Static<typeof PAGE>
const PAGE_REPLY = Type.Object({
  films: Type.Array(LIBRARY_FILM),
  /** Absent: this was the last page. */
  next: Type.Optional(Type.String())
})
export type LibraryPage = Static<typeof PAGE_REPLY>

const FILM_REPLY = Type.Object({
  film: LIBRARY_FILM,
  /** Media facts, JSON as the media package writes it; absent where they are not known. */
  facts: Type.Optional(Type.String()),
  derived: Type.Array(DERIVED)
})
export type LibraryFilmReply = Static<typeof FILM_REPLY>

const OWNER = Type.Object({ application: APPLICATION, user: USER })
const GENERATION_OF_FILM = { ...fileKeyFields, generation: GENERATION }

export const libraryCalls = {
  'library.page': indexCall('safe', PAGE, PAGE_REPLY),
  /** Of one film, in the trash or not. FILE_NOT_FOUND. */
  'library.film': indexCall('safe', FILE_KEY, FILM_REPLY),
  /** A file was just stored, or changed its state: it is listed at once, rather than when somebody comes by. */
  'library.note': indexCall('safe', FILE_KEY, NOTHING),
  /** GENERATION_MISMATCH where it is another film by now. */
  'library.setTitle': indexCall(
    'safe',
    Type.Object({ ...GENERATION_OF_FILM, title: Type.String({ minLength: 1, maxLength: TITLE_LENGTH_MAX }) }),
    NOTHING
  ),
  /** What was found in a film; `facts` absent: it is none that can be read. */
  'library.setFacts': indexCall(
    'safe',
    Type.Object({
      ...GENERATION_OF_FILM,
      facts: Type.Optional(Type.String({ maxLength: FACTS_LENGTH_MAX })),
      kind: Type.Optional(KIND),
      durationMs: Type.Optional(TIME_MS),
      width: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
      height: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
      /** Taken where nobody has given the film a title. */
      title: Type.Optional(Type.String({ maxLength: TITLE_LENGTH_MAX }))
    }),
    NOTHING
  ),
  /** How much is stored, the trash included, derived files as well. */
  'library.usage': indexCall(
    'safe',
    Type.Object({ application: APPLICATION, user: Type.Optional(USER) }),
    Type.Object({ files: BYTES, bytes: BYTES, trashedFiles: BYTES, trashedBytes: BYTES })
  ),
  /** Applications and users that have films, for filters. */
  'library.owners': indexCall(
    'safe',
    Type.Object({}),
    Type.Object({ owners: Type.Array(Type.Object({ application: Type.String(), user: Type.String() })) })
  ),
  /** Derived files whose film is gone, and where to go on; for whoever deletes them. */
  'library.orphans': indexCall(
    'safe',
    Type.Object({ after: Type.Optional(OWNER) }),
    Type.Object({ files: Type.Array(Type.Object(GENERATION_OF_FILM)), next: Type.Optional(OWNER) })
  ),
  /** Films that nobody has looked into yet, oldest first. */
  'library.pending': indexCall(
    'safe',
    Type.Object({ limit: Type.Integer({ minimum: 1, maximum: LIBRARY_PAGE_MAX }) }),
    Type.Object({ films: Type.Array(LIBRARY_FILM) })
  )
}
