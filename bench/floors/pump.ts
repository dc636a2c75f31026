/** Floor of large downloads: any request is answered with a header and one file, 256 KiB readSync and write at a time. */
import { fstatSync, openSync, readSync } from 'node:fs'
import { listen } from './listen.ts'

const PIECE_BYTES = 256 * 1024
const fd = openSync(process.argv[2]!, 'r')
const sizeBytes = fstatSync(fd).size

listen(socket => {
  const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES)
  socket.on('data', () => {
    const header = Buffer.from('00000000000000006600', 'hex')
    header.writeBigInt64BE(BigInt(sizeBytes), 0)
    socket.write(header)
    let offset = 0
    const step = (error?: Error | null): void => {
      if (error || offset === sizeBytes) return
      const bytes = readSync(fd, buffer, 0, Math.min(PIECE_BYTES, sizeBytes - offset), offset)
      offset += bytes
      socket.write(bytes === PIECE_BYTES ? buffer : buffer.subarray(0, bytes), step)
    }
    step()
  })
})
