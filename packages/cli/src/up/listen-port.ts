/** Ports are looked at before anything is started, so that all that are taken are named at once. */
import { createServer, type AddressInfo } from 'node:net'
import { formatHostPort } from '@tributary/runtime'

export interface PortWish {
  /** As it is told: `tracker`. */
  name: string
  host: string
  /** 0: any free one. */
  port: number
  flag: string
}

/**
 * @returns The ports, in order; those that were 0 are free ones.
 * @throws {Error} with a sentence for each that cannot be listened on.
 */
export async function claimPorts(wishes: readonly PortWish[]): Promise<number[]> {
  const ports: number[] = []
  const problems: string[] = []
  const open: (() => void)[] = []
  for (const { name, host, port, flag } of wishes) {
    const server = createServer()
    try {
      const { port: bound } = await new Promise<AddressInfo>((resolve, reject) => {
        server.once('error', reject)
        // Without sharing: a storage server shares its port among its workers, and must not with a stranger.
        server.listen({ host, port, exclusive: true }, () => resolve(server.address() as AddressInfo))
      })
      ports.push(bound)
      open.push(() => server.close())
    } catch (error) {
      const where = formatHostPort({ host, port })
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EADDRINUSE')
        problems.push(
          `${where} (${name}) is taken by another program: stop it, or choose another port with ${flag}`
        )
      else if (code === 'EACCES')
        problems.push(
          `${where} (${name}) may not be listened on by this user: choose a port above 1023 with ${flag}`
        )
      else if (code === 'EADDRNOTAVAIL')
        problems.push(`${where} (${name}) is not an address of this machine: choose another with --host`)
      else problems.push(`${where} (${name}) cannot be listened on: ${(error as Error).message}`)
    }
  }
  for (const close of open) close()
  if (problems.length > 0) throw new Error(problems.join('; '))
  return ports
}
