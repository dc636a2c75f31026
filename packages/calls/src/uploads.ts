/** Resumable uploads that are under way, by the file that they will be. */
import Type from 'typebox'
import { indexCall } from './call.ts'
import { APPLICATION, BYTES, FILE_KEY, GENERATION, USER } from './common.ts'

/** Uploads that are left out of what was promised. */
const EXCEPT_MAX = 1_000

export const uploadsCalls = {
  /** The one of this file that has come furthest; absent: none is under way. */
  'uploads.underWay': indexCall(
    'safe',
    FILE_KEY,
    Type.Object({
      upload: Type.Optional(Type.Object({ id: GENERATION, sizeBytes: BYTES, offsetBytes: BYTES }))
    })
  ),
  /**
   * What uploads under way will need: the length that each of them announced, however much of it has come. Of parts that are
   * being joined the parts count, and the whole as a file.
   */
  'uploads.promised': indexCall(
    'safe',
    Type.Object({
      application: APPLICATION,
      user: Type.Optional(USER),
      /** Those alone that were begun before this one, without its parts. */
      before: Type.Optional(GENERATION),
      except: Type.Optional(Type.Array(GENERATION, { maxItems: EXCEPT_MAX }))
    }),
    Type.Object({ files: BYTES, bytes: BYTES })
  )
}
