import { readFile, stat } from 'node:fs/promises'

/** Lines of the kernel's table are looked through from its beginning; one has about 150 bytes. */
const LOOPBACK = '0100007F'
const LOCAL_COLUMN = 1
const REMOTE_COLUMN = 2
const USER_COLUMN = 7

/**
 * Whether the other end of a connection over 127.0.0.1 is a process of this user's: arguments of a program, addresses in them
 * included, can be read by everybody on a machine.
 */
export async function isOwnPeer(peerPort: number, ownPort: number): Promise<boolean> {
  const [table, own] = await Promise.all([readFile('/proc/net/tcp', 'latin1'), stat('/proc/self')])
  const local = `${LOOPBACK}:${hex(peerPort)}`
  const remote = `${LOOPBACK}:${hex(ownPort)}`
  for (const line of table.split('\n')) {
    const columns = line.trim().split(/\s+/)
    if (columns[LOCAL_COLUMN] === local && columns[REMOTE_COLUMN] === remote)
      return Number(columns[USER_COLUMN]) === own.uid
  }
  return false
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0')
}
