/** What a storage server answers to the commands of resumable uploads. */
import type { UploadRow } from '@tributary/database'
import {
  decodeAppendHead,
  encodeFieldBlock,
  extension,
  RejectedError,
  UnavailableError,
  type PartStatus
} from '@tributary/protocol'
import { replyOf, type Handler } from '@tributary/transport'
import type { Applications } from './applications.ts'
import type { MediaTypeFinder } from './media-type-finder.ts'
import type { PartUploads } from './part-uploads.ts'
import { labelsOf } from './upload-labels.ts'

export interface PartHandlerParts {
  uploads: PartUploads
  applications: Applications
  mediaTypes: MediaTypeFinder
  /** Refuses new work while the server drains. */
  stopping: () => boolean
}

type PartCommand = 'PART_BEGIN' | 'PART_APPEND' | 'PART_STATUS' | 'PART_COMMIT' | 'PART_ABORT' | 'PART_READ'

export function partHandlers(parts: PartHandlerParts): Record<PartCommand, Handler> {
  const { uploads, applications, mediaTypes } = parts
  const mayWrite = (): void => {
    if (parts.stopping()) throw new UnavailableError('SHUTTING_DOWN', 'the storage server is shutting down')
  }
  return {
    PART_BEGIN: async body => {
      mayWrite()
      const request = extension.partBegin.decode(body)
      const { id: nonce, name, mediaType } = request
      const labels = labelsOf({ nonce, name, mediaType })
      await applications.check(request.application)
      return statusReply(await uploads.begin(request, labels))
    },
    PART_APPEND: async (head, { content, peer }) => {
      mayWrite()
      // The head says nothing that a peer of others could mean.
      if (!peer.ours) throw new RejectedError('ACCESS_DENIED', 'HELLO comes first')
      return statusReply(await uploads.append(decodeAppendHead(head), content))
    },
    PART_STATUS: async body => statusReply(await uploads.status(idOf(body))),
    PART_COMMIT: async body => {
      mayWrite()
      const row = await uploads.commit(idOf(body))
      mediaTypes.note(row)
      const { generation, sizeBytes, crc32, storedAtMs, mediaType, name } = row
      const facts = { generation, sizeBytes, crc32, storedAtMs, mediaType, name }
      return replyOf('storage', extension.storeReply.encode(facts))
    },
    PART_ABORT: async body => {
      mayWrite()
      return statusReply(await uploads.abort(idOf(body)))
    },
    PART_READ: async body => {
      const { id, start, lengthBytes } = extension.partRead.decode(body)
      const { row, bytes } = await uploads.read(id, start, lengthBytes)
      return replyOf('storage', encodeFieldBlock(extension.partStatus.encode(statusOf(row))), bytes)
    }
  }
}

function idOf(body: Buffer): string {
  return extension.partId.decode(body).id
}

function statusReply(row: UploadRow): Buffer {
  return replyOf('storage', extension.partStatus.encode(statusOf(row)))
}

function statusOf(row: UploadRow): PartStatus {
  const { id, application, user, file, sizeBytes, offsetBytes, crc32, fence, group, expiresMs } = row
  const { name, mediaType, metadata, generation, layout } = row
  return {
    id,
    application,
    user,
    file,
    sizeBytes,
    offsetBytes,
    crc32,
    fence,
    group,
    expiresMs,
    name,
    mediaType,
    metadata,
    generation: generation === '' ? undefined : generation,
    joins: layout.parts?.join('')
  }
}
