/** Resumable uploads that are under way, by the file that they will be. */
import Type from 'typebox'
import { indexCall } from './call.ts'
import { BYTES, FILE_KEY, GENERATION } from './common.ts'

export const uploadsCalls = {
  /** The one of this file that has come furthest; absent: none is under way. */
  'uploads.underWay': indexCall(
    'safe',
    FILE_KEY,
    Type.Object({
      upload: Type.Optional(Type.Object({ id: GENERATION, sizeBytes: BYTES, offsetBytes: BYTES }))
    })
  )
}
