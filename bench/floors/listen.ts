/** Start and end of a floor: a server that does only the unavoidable. */
import { createServer, type Server, type Socket } from 'node:net'
import type { Server as HttpServer } from 'node:http'

export function listen(onConnection: (socket: Socket) => void): void {
  listenWith(
    createServer({ noDelay: true }, socket => {
      socket.on('error', () => {})
      onConnection(socket)
    })
  )
}

export function listenWith(server: Server | HttpServer): void {
  server.listen({ host: '127.0.0.1', port: 0 }, () => {
    const address = server.address() as { address: string; port: number }
    process.send!({ type: 'ready', fields: { host: address.address, port: address.port } })
  })
  process.on('disconnect', () => process.exit(0))
  process.on('SIGTERM', () => process.exit(0))
}
