/** Floor of segments: node:http with so many bytes from memory, the same for every address. */
import { createServer } from 'node:http'
import { listenWith } from './listen.ts'

const bytes = Buffer.alloc(Number(process.argv[2]), 7)

listenWith(
  createServer((_request, response) => {
    response.writeHead(200, ['Content-Type', 'video/mp4', 'Content-Length', String(bytes.byteLength)])
    response.end(bytes)
  })
)
