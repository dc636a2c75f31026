/** What the library says of a film in numbers. */

/** Numbers on disk; append only. */
export const FILM_KINDS = ['video', 'audio', 'image', 'text', 'other'] as const
export type FilmKind = (typeof FILM_KINDS)[number]
export const FACTS_STATES = ['pending', 'ready', 'none'] as const
export type FactsState = (typeof FACTS_STATES)[number]
