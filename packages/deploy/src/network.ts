import { isIPv4 } from 'node:net'

/** An IPv4 network: VRRP over unicast and legacy clients know no other. */
export interface Network {
  /** As it was written: `10.77.0.0/24`. */
  readonly text: string
  readonly base: number
  readonly prefix: number
}

/** @returns undefined where the text is no `a.b.c.d/prefix` whose host bits are 0. */
export function parseNetworkText(text: string): Network | undefined {
  const [, address = '', bits = ''] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? []
  const prefix = Number(bits)
  if (!isIPv4(address) || prefix < 1 || prefix > 32) return undefined
  const base = addressNumber(address)
  return base === masked(base, prefix) ? { text, base, prefix } : undefined
}

/** @param address a valid IPv4 address. */
export function networkHolds({ base, prefix }: Network, address: string): boolean {
  return masked(addressNumber(address), prefix) === base
}

/** The first and the last address of a network name nobody. */
export function isReserved({ base, prefix }: Network, address: string): boolean {
  const number = addressNumber(address)
  return prefix < 31 && (number === base || number === base + 2 ** (32 - prefix) - 1)
}

/** `255.255.255.0`, as MariaDB's grants want it. */
export function netmaskOf({ prefix }: Network): string {
  const mask = 2 ** 32 - 2 ** (32 - prefix)
  return [24, 16, 8, 0].map(shift => Math.floor(mask / 2 ** shift) % 256).join('.')
}

function addressNumber(address: string): number {
  return address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
}

function masked(number: number, prefix: number): number {
  const size = 2 ** (32 - prefix)
  return number - (number % size)
}
