import { checkFileKey } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'

type UploadsCallName = Extract<keyof CallHandlers, `uploads.${string}`>

export function uploadsHandlers({ database: { uploads }, clock }: IndexParts): CallHandlers<UploadsCallName> {
  return {
    async 'uploads.underWay'(key) {
      const found = await uploads.ofFile(checkFileKey(key), clock.nowMs())
      if (!found) return {}
      const { id, sizeBytes, offsetBytes } = found
      return { upload: { id, sizeBytes, offsetBytes } }
    },

    'uploads.promised': question => uploads.promised(question, clock.nowMs())
  }
}
