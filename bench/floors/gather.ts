/**
 * Floor of large uploads: chunks are checksummed as they come, gathered to 1 MiB and written by writev into a new
 * file, the sender being held back while two pieces wait; then, with `durable`, one fdatasync, and the answer.
 */
import { closeSync, fdatasync, openSync, writev } from 'node:fs'
import { crc32 } from 'node:zlib'
import { join } from 'node:path'
import { UPLOAD_OVERHEAD_BYTES, UPLOADED_REPLY } from './frame-splitter.ts'
import { listen } from './listen.ts'

const GATHER_BYTES = 1024 * 1024
const BEHIND_BYTES_MAX = 2 * GATHER_BYTES
const root = process.argv[2]!
const isDurable = process.argv[3] === 'durable'
let files = 0

listen(socket => {
  const fd = openSync(join(root, String(files++)), 'wx', 0o644)
  let head: Buffer | undefined = Buffer.alloc(0)
  let leftBytes = 0
  let crc = 0
  let gathered: Buffer[] = []
  let gatheredBytes = 0
  const queue: { pieces: Buffer[]; bytes: number }[] = []
  let behindBytes = 0
  let isWriting = false

  const answer = (): void => {
    closeSync(fd)
    socket.write(UPLOADED_REPLY)
  }
  const write = (): void => {
    const next = queue.shift()
    if (!next) {
      isWriting = false
      if (leftBytes > 0 || gatheredBytes > 0) return
      if (isDurable) fdatasync(fd, answer)
      else answer()
      return
    }
    isWriting = true
    writev(fd, next.pieces, null, (error, written) => {
      if (error || written !== next.bytes) throw error ?? new Error('short write')
      behindBytes -= next.bytes
      if (behindBytes < BEHIND_BYTES_MAX) socket.resume()
      write()
    })
  }
  const take = (chunk: Buffer): void => {
    crc = crc32(chunk, crc)
    leftBytes -= chunk.byteLength
    gathered.push(chunk)
    gatheredBytes += chunk.byteLength
    if (gatheredBytes < GATHER_BYTES && leftBytes > 0) return
    queue.push({ pieces: gathered, bytes: gatheredBytes })
    behindBytes += gatheredBytes
    gathered = []
    gatheredBytes = 0
    if (behindBytes >= BEHIND_BYTES_MAX && leftBytes > 0) socket.pause()
    if (!isWriting) write()
  }
  socket.on('data', chunk => {
    if (head === undefined) return take(chunk)
    head = Buffer.concat([head, chunk])
    if (head.byteLength < UPLOAD_OVERHEAD_BYTES) return
    leftBytes = Number(head.readBigInt64BE(UPLOAD_OVERHEAD_BYTES - 8))
    const rest = head.subarray(UPLOAD_OVERHEAD_BYTES)
    head = undefined
    if (rest.byteLength > 0) take(rest)
  })
})
