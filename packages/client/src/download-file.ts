/**
 * A download into a file: written beside it, gone on with when it breaks, renamed when it is whole and right.
 *
 *   <path>.part       the bytes so far
 *   <path>.part.json  which generation they are of
 */
import { link, open, readFile, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { formatFileKey, RejectedError, UnavailableError, type FileKey } from '@tributary/protocol'
import type {
  DownloadedFile,
  DownloadToFileOptions,
  Fetched,
  FetchedContent,
  FetchOptions
} from './contract.ts'
import { isCode } from './retry-rules.ts'

const REREAD_BYTES = 1024 * 1024

type Fetch = (key: FileKey, options: FetchOptions) => Promise<Fetched>

/**
 * @throws {RejectedError} FILE_EXISTS: there is a file of that name. {UnavailableError} CHECKSUM_MISMATCH; the part
 *   is removed then, otherwise it is kept for the next try.
 */
export async function downloadToFile(
  fetch: Fetch,
  key: FileKey,
  path: string,
  options: DownloadToFileOptions
): Promise<DownloadedFile> {
  if (!options.overwrite && (await exists(path))) throw taken(path)
  try {
    return await attempt(fetch, key, path, options, options.restart ?? false)
  } catch (error) {
    if (!isCode(error, 'CHECKSUM_MISMATCH')) throw error
    // What an earlier download left may be what is wrong, as after a crash of this machine: once more from the start.
    return attempt(fetch, key, path, options, true)
  }
}

async function attempt(
  fetch: Fetch,
  key: FileKey,
  path: string,
  options: DownloadToFileOptions,
  restart: boolean
): Promise<DownloadedFile> {
  const part = `${path}.part`
  const { signal } = options
  const left = restart ? undefined : await leftover(part)
  const fetched = await fetch(key, {
    signal,
    ...(left && { start: left.bytes, rangeGeneration: left.generation })
  })
  if (fetched.outcome !== 'content') {
    throw new RejectedError('BAD_RANGE', `${part} does not fit ${formatFileKey(key)}: start again without it`)
  }
  // Another generation comes whole, from its first byte.
  const resumedBytes = fetched.whole ? 0 : fetched.offset
  const { facts } = fetched
  const file = await open(part, resumedBytes > 0 ? 'r+' : 'w').catch((error: unknown) => {
    fetched.cancel()
    throw error
  })
  try {
    await file.truncate(resumedBytes)
    if (resumedBytes === 0) await writeFile(`${part}.json`, JSON.stringify({ generation: facts.generation }))
    let crc = resumedBytes > 0 ? await checksumOf(file, resumedBytes) : 0
    await write(fetched, file, resumedBytes, options, bytes => (crc = crc32(bytes, crc)))
    if (facts.generation !== '' && crc !== facts.crc32) {
      await file.truncate(0)
      throw new UnavailableError(
        'CHECKSUM_MISMATCH',
        `the bytes received of ${formatFileKey(key)} are not the ones that were stored`
      )
    }
    await file.sync()
  } finally {
    fetched.cancel()
    await file.close()
  }
  await publish(part, path, options.overwrite ?? false)
  await rm(`${part}.json`, { force: true })
  return { facts, path, resumedBytes }
}

/** Bytes that may be gone on with: of a known generation, and not all of them, so that there is something to ask for. */
async function leftover(part: string): Promise<{ bytes: number; generation: string } | undefined> {
  try {
    const { size } = await stat(part)
    const { generation } = JSON.parse(await readFile(`${part}.json`, 'utf8')) as { generation?: unknown }
    if (typeof generation !== 'string' || generation === '' || size < 2) return undefined
    return { bytes: size - 1, generation }
  } catch {
    return undefined // nothing there that could be used
  }
}

async function write(
  content: FetchedContent,
  file: FileHandle,
  fromBytes: number,
  { signal, onProgress }: DownloadToFileOptions,
  update: (bytes: Buffer) => void
): Promise<void> {
  let position = fromBytes
  const totalBytes = content.facts.sizeBytes
  let doneBytes = fromBytes
  onProgress?.({ doneBytes, totalBytes })
  const failed = new AbortController()
  const writing = new Set<Promise<void>>()
  const writeAt = async (bytes: Buffer, at: number): Promise<void> => {
    for (let written = 0; written < bytes.byteLength;) {
      const { bytesWritten } = await file.write(bytes, written, bytes.byteLength - written, at + written)
      written += bytesWritten
    }
    doneBytes += bytes.byteLength
    onProgress?.({ doneBytes, totalBytes })
  }
  if (content.bytes) {
    update(content.bytes)
    return writeAt(content.bytes, position)
  }
  try {
    await content.stream!(
      (piece, release) => {
        update(piece)
        const written = writeAt(piece, position).then(release, error => {
          failed.abort(error)
          release()
        })
        position += piece.byteLength
        writing.add(written)
        void written.then(() => writing.delete(written))
      },
      { signal: signal ? AbortSignal.any([signal, failed.signal]) : failed.signal }
    )
  } catch (error) {
    throw failed.signal.aborted ? failed.signal.reason : error
  } finally {
    // The pieces' buffers are the connection's: they must have been written before anybody goes on.
    await Promise.all(writing)
  }
  if (failed.signal.aborted) throw failed.signal.reason
}

async function checksumOf(file: FileHandle, sizeBytes: number): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(REREAD_BYTES)
  let crc = 0
  for (let position = 0; position < sizeBytes;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(REREAD_BYTES, sizeBytes - position), position)
    if (bytesRead === 0) break // cut meanwhile: the checksum will tell
    crc = crc32(buffer.subarray(0, bytesRead), crc)
    position += bytesRead
  }
  return crc
}

async function publish(part: string, path: string, overwrite: boolean): Promise<void> {
  if (overwrite) return rename(part, path)
  try {
    await link(part, path) // unlike rename it never replaces a file
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw taken(path)
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error
    if (await exists(path)) throw taken(path) // a file system without links
    return rename(part, path)
  }
  await rm(part)
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}

function taken(path: string): RejectedError {
  return new RejectedError('FILE_EXISTS', `${path} is there already`)
}
