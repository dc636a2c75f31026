/**
 * Floor of small uploads without a sync: for each frame create a file under a temporary name, write, close, rename,
 * answer; all synchronous, 512 files to a folder. No index, no checksum, nothing is looked at.
 */
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { splitFrames, UPLOAD_OVERHEAD_BYTES, UPLOADED_REPLY } from './frame-splitter.ts'
import { listen } from './listen.ts'

const FOLDER_FILES = 512
const root = process.argv[2]!
const temporary = join(root, 'temporary')
let files = 0
let folder = ''

listen(socket => {
  socket.on(
    'data',
    splitFrames(frame => {
      if (files % FOLDER_FILES === 0) {
        folder = join(root, String(files / FOLDER_FILES))
        mkdirSync(folder)
      }
      const name = String(files++)
      const fd = openSync(temporary, 'wx', 0o644)
      writeSync(fd, frame, UPLOAD_OVERHEAD_BYTES)
      closeSync(fd)
      renameSync(temporary, `${folder}/${name}`)
      socket.write(UPLOADED_REPLY)
    })
  )
})
