import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'
import { AllowList } from '@tributary/runtime'

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

function isOutside({ family, internal }: NetworkInterfaceInfo): boolean {
  return family === 'IPv4' && !internal
}

function isVirtual(name: string): boolean {
  return /^(?:docker|br-|veth|virbr|lxc|cni|tun|tap)/.test(name)
}
