/** How often a film was begun and how far it was seen: sums per day, of nobody in particular. */
import Type, { type Static } from 'typebox'
import { indexCall } from './call.ts'
import { fileKeyFields, FILE_KEY, GENERATION, NOTHING } from './common.ts'

/** Places of a film whose reaching is counted: its beginning, a tenth, two … its end. */
export const PLAY_TENTHS = 11
/** Sums of one call. */
export const PLAYS_BATCH_MAX = 200
/** Days that are kept, and that one answer has. */
export const PLAYS_DAYS_MAX = 400

const COUNT = Type.Integer({ minimum: 0, maximum: 1_000_000_000 })
const SUMS = {
  starts: COUNT,
  /** Seconds played, at whatever speed. */
  seconds: COUNT,
  /** Viewings that came to each of the PLAY_TENTHS places. */
  reached: Type.Array(COUNT, { minItems: PLAY_TENTHS, maxItems: PLAY_TENTHS })
}
/** Days since 1970, UTC. */
const DAY = Type.Integer({ minimum: 0, maximum: 1_000_000 })
export const PLAY_DAY = Type.Object({ day: DAY, ...SUMS })
export type PlayDay = Static<typeof PLAY_DAY>
const PLAY_SUM = Type.Object({ ...fileKeyFields, generation: GENERATION, day: DAY, ...SUMS })
export type PlaySum = Static<typeof PLAY_SUM>

export const playCalls = {
  /** Added to what there is; of a repeated call whose reply was lost, twice. */
  'plays.add': indexCall(
    'ask-first',
    Type.Object({ sums: Type.Array(PLAY_SUM, { maxItems: PLAYS_BATCH_MAX }) }),
    NOTHING
  ),
  /** Of the film that has the name now and of those before it, by day, the newest first. */
  'plays.film': indexCall('safe', FILE_KEY, Type.Object({ days: Type.Array(PLAY_DAY) }))
}
