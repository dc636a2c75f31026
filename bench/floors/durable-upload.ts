/**
 * Floor of durable small uploads: the frames of all that wait are appended to a journal that has its blocks
 * (64 MiB of zeros, used round and round) and synced by one fdatasync; while it runs, each file is created, written
 * and closed without a sync. Then all are answered. No index, no checksum, no checkpoint, nothing is looked at.
 */
import {
  closeSync,
  fdatasync as fdatasyncCallback,
  fdatasyncSync,
  mkdirSync,
  openSync,
  writeSync,
  writevSync
} from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { splitFrames, UPLOAD_OVERHEAD_BYTES, UPLOADED_REPLY } from './frame-splitter.ts'
import { listen } from './listen.ts'

const fdatasync = promisify(fdatasyncCallback)
const FOLDER_FILES = 512
const JOURNAL_BYTES = 64 * 1024 * 1024
const root = process.argv[2]!
let files = 0
let folder = ''

const journal = openSync(join(root, 'journal'), 'wx', 0o644)
writeSync(journal, Buffer.alloc(JOURNAL_BYTES))
fdatasyncSync(journal)
let journalAt = 0

let waiting: { socket: Socket; frame: Buffer }[] = []
let running = false

async function commit(): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
  while (waiting.length > 0) {
    const batch = waiting
    waiting = []
    let bytes = 0
    for (const { frame } of batch) bytes += frame.byteLength
    if (journalAt + bytes > JOURNAL_BYTES) journalAt = 0
    writevSync(
      journal,
      batch.map(({ frame }) => frame),
      journalAt
    )
    journalAt += bytes
    const synced = fdatasync(journal)
    for (const { frame } of batch) {
      if (files % FOLDER_FILES === 0) {
        folder = join(root, String(files / FOLDER_FILES))
        mkdirSync(folder)
      }
      const fd = openSync(`${folder}/${files++}`, 'wx', 0o644)
      writeSync(fd, frame, UPLOAD_OVERHEAD_BYTES)
      closeSync(fd)
    }
    await synced
    for (const { socket } of batch) socket.write(UPLOADED_REPLY)
  }
  running = false
}

listen(socket => {
  socket.on(
    'data',
    splitFrames(frame => {
      waiting.push({ socket, frame })
      if (running) return
      running = true
      void commit()
    })
  )
})
