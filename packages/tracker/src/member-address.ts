import { isIP, isIPv4 } from 'node:net'
import type { Address, ExtendedAddress } from '@tributary/protocol'
import type { Member } from './member.ts'

/** Where programs of ours reach a member: what it advertises, else where it spoke from. */
export function addressesOf({ advertised, ip, port }: Member): readonly ExtendedAddress[] {
  return advertised.length > 0 ? advertised : [{ host: ip, port, family: isIP(ip) }]
}

/** Where legacy programs reach it: they know IPv4 addresses only, and no TLS. */
export function ipv4AddressOf(member: Member): Address | undefined {
  return addressesOf(member).find(({ host, tls }) => isIPv4(host) && !tls)
}
