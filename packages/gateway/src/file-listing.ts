import type { FilePage } from './contract/index.ts'
import { sendJson, type Exchange } from './exchange.ts'
import type { FileService } from './file-service.ts'
import { pathOf, type Owner } from './file-target.ts'
import { contentTypeOf } from './media-type.ts'
import { HttpProblem } from './problem.ts'

const LIMIT_DEFAULT = 100
const LIMIT_MAX = 1_000

/** GET /files/{application}/{user}?after=&limit= — @returns the status that was answered. */
export async function listFiles(
  exchange: Exchange,
  files: FileService,
  { application, user }: Owner,
  query: string
): Promise<number> {
  const parameters = new URLSearchParams(query)
  const after = parameters.get('after') ?? ''
  const limitText = parameters.get('limit')
  const limit = limitText === null ? LIMIT_DEFAULT : /^\d{1,9}$/.test(limitText) ? Number(limitText) : 0
  if (limit === 0) throw new HttpProblem(400, `limit is a whole number from 1 to ${LIMIT_MAX}`)
  const listed = await files.list({ application, user, after, limit: Math.min(limit, LIMIT_MAX) })
  const page: FilePage = {
    files: listed.files.map(({ file, name, sizeBytes, mediaType, generation, crc32, storedAtMs }) => ({
      application,
      user,
      file,
      url: pathOf({ application, user, file }),
      name,
      sizeBytes,
      mediaType: contentTypeOf(mediaType, name, file),
      generation,
      crc32: crc32.toString(16).padStart(8, '0'),
      storedAt: storedAtMs > 0 ? new Date(storedAtMs).toISOString() : ''
    })),
    next: listed.more ? (listed.files.at(-1)?.file ?? null) : null
  }
  sendJson(exchange, 200, page)
  return 200
}
