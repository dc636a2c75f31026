import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'
import { AllowList, formatHostPort } from '@tributary/runtime'

/** The IPv4 address under which other machines of the house reach this one; undefined where there is none. */
export function lanAddress(interfaces = networkInterfaces()): string | undefined {
  const isPrivate = AllowList.parse(['private'])
  const outside = Object.entries(interfaces).flatMap(([name, addresses = []]) =>
    addresses.filter(isOutside).map(({ address }) => ({ name, address }))
  )
  // Bridges of container programs have private addresses too, and nobody comes through them.
  outside.sort((a, b) => Number(isVirtual(a.name)) - Number(isVirtual(b.name)))
  return (outside.find(({ address }) => isPrivate.allows(address)) ?? outside[0])?.address
}

/** What a person is told to type into phone and television, or why there is nothing. */
export function lanSentence(
  address: string | undefined,
  scheme: 'http' | 'https',
  port: number,
  everybodyMayWrite: boolean
): string {
  if (address === undefined) return 'this machine has no address in a local network right now'
  if (everybodyMayWrite)
    return `${scheme}://${formatHostPort({ host: address, port })}   (everybody may write)`
  // Only private networks are let in: the link would lead nowhere.
  if (!AllowList.parse(['private']).allows(address))
    return `${address} is no address of a private network, and only those may watch`
  return `${scheme}://${formatHostPort({ host: address, port })}   (they may watch; writing needs a token)`
}

function isOutside({ family, internal }: NetworkInterfaceInfo): boolean {
  return family === 'IPv4' && !internal
}

function isVirtual(name: string): boolean {
  return /^(?:docker|br-|veth|virbr|lxc|cni|tun|tap)/.test(name)
}
