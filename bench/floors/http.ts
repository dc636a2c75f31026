/** Floor of small HTTP answers: node:http with 4 KiB from memory and the two headers that are needed. */
import { createServer } from 'node:http'
import { hotFile, HOT_FILES, SMALL_BYTES, smallContent } from '../content.ts'
import { listenWith } from './listen.ts'

const contents = new Map(
  Array.from({ length: HOT_FILES }, (_, index) => [`/files/${hotFile(index)}`, smallContent(index)])
)

listenWith(
  createServer((request, response) => {
    response.writeHead(200, [
      'Content-Type',
      'application/octet-stream',
      'Content-Length',
      String(SMALL_BYTES)
    ])
    response.end(contents.get(request.url!))
  })
)
