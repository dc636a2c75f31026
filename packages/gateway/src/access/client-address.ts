/** Where a request comes from, behind proxies that are believed. */
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { isIP } from 'node:net'
import { plainAddress, type AllowList } from '@tributary/runtime'

/** A list is as long as there are proxies; a longer one was made up. */
const HOPS_MAX = 16

/**
 * The address of the client: the socket's, or, where that is a proxy's, the last of X-Forwarded-For that is not one. What a
 * client wrote there itself stands before it, and is not believed.
 */
export function clientAddressOf({ socket, headers }: IncomingMessage, proxies: AllowList): string {
  let address = plainAddress(socket.remoteAddress ?? '')
  const forwarded = headers['x-forwarded-for']
  if (forwarded === undefined || !proxies.allows(address)) return address
  const hops = String(forwarded).split(',').slice(-HOPS_MAX)
  for (const hop of hops.reverse()) {
    const next = plainAddress(hop.trim())
    if (isIP(next) === 0) return address
    address = next
    if (!proxies.allows(address)) return address
  }
  return address
}

/** Whether the client speaks TLS: with us, or with a proxy that is believed. */
export function isSecure({ socket, headers }: IncomingMessage, proxies: AllowList): boolean {
  if (socket instanceof TLSSocket) return true
  return headers['x-forwarded-proto'] === 'https' && proxies.allows(plainAddress(socket.remoteAddress ?? ''))
}
