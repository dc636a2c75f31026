/** Floor of look-ups: 410 bytes in, one buffer of 18 bytes out. Nothing is looked at. */
import { listen } from './listen.ts'

const REQUEST_BYTES = 410
const reply = Buffer.from('000000000000000866000000000000001000', 'hex')

listen(socket => {
  let bytes = 0
  socket.on('data', chunk => {
    bytes += chunk.byteLength
    while (bytes >= REQUEST_BYTES) {
      bytes -= REQUEST_BYTES
      socket.write(reply)
    }
  })
})
