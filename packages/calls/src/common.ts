/** Pieces that several nouns have in common. Bounds are those of the wire protocol, in bytes of UTF-8 checked by the tracker. */
import Type from 'typebox'

export const APPLICATION = Type.String({ pattern: '^[A-Za-z0-9]{1,15}$' })
export const USER = Type.String({ minLength: 1, maxLength: 255 })
export const FILE = Type.String({ minLength: 1, maxLength: 127 })
/** 32 lower-case hexadecimal digits. */
export const GENERATION = Type.String({ pattern: '^[0-9a-f]{32}$' })
/** UNIX milliseconds. */
export const TIME_MS = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const BYTES = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

export const fileKeyFields = { application: APPLICATION, user: USER, file: FILE }
export const FILE_KEY = Type.Object(fileKeyFields)
/** What a call answers that has nothing to say. */
export const NOTHING = Type.Object({})
