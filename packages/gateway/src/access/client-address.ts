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

const GROUPS = 8
/** Of an IPv6 address what a provider gives to one customer, who has all the addresses behind it. */
const CUSTOMER_GROUPS = 4

/** Addresses that count as one where somebody is told to wait: an IPv4 address, or the /64 of an IPv6 one. */
export function customerOf(address: string): string {
  if (isIP(address) !== 6) return address
  const [bare = ''] = address.split('%', 1)
  const [front, back] = bare.split('::').map(part => part.split(':').filter(group => group !== ''))
  // An IPv4 address at the end stands for two.
  const backGroups = back?.reduce((sum, group) => sum + (group.includes('.') ? 2 : 1), 0) ?? 0
  const zeros = Array.from({ length: Math.max(0, GROUPS - front!.length - backGroups) }, () => '0')
  const groups = [...front!, ...zeros, ...(back ?? [])].slice(0, CUSTOMER_GROUPS)
  return `${groups.map(group => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}
