import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'

/** A TCP port of the loopback that nobody had a moment ago; whoever takes it must be ready to try another. */
export async function freePort(): Promise<number> {
  const server = createServer().listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  return port
}
