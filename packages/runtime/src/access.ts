import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'

/** Words that stand for several networks. */
export const NAMED_NETWORKS = {
  loopback: ['127.0.0.0/8', '::1/128'],
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10'],
  any: ['0.0.0.0/0', '::/0']
} as const satisfies Record<string, readonly string[]>

/** Answers remembered; one per address, so that a scan from many addresses costs no memory. */
const ANSWERS_MAX = 1_024

/** A network that nobody can read: not an address, or a prefix that does not fit it. */
export class NetworkSyntaxError extends Error {
  readonly text: string
  constructor(text: string) {
    super(
      `'${text}' is not a network: expected an address, address/prefix or one of ${Object.keys(NAMED_NETWORKS).join(', ')}`
    )
    this.name = 'NetworkSyntaxError'
    this.text = text
  }
}

/** Who may speak to a listener. An empty list allows nobody. */
export class AllowList {
  /** The entries as they were written, for logs. */
  readonly entries: readonly string[]
  // Sets of networks, whatever their name says; two, as `::/0` in one set would let every IPv4 address in.
  readonly #networks = { ipv4: new BlockList(), ipv6: new BlockList() }
  readonly #answers = new Map<string, boolean>()

  private constructor(entries: readonly string[]) {
    this.entries = entries
  }

  /**
   * @param entries  addresses, networks in CIDR form (IPv4 or IPv6), or names of `NAMED_NETWORKS`.
   * @throws {NetworkSyntaxError}
   */
  static parse(entries: readonly string[]): AllowList {
    const list = new AllowList([...entries])
    for (const entry of entries) list.#add(entry.trim())
    return list
  }

  /** @param ip  an address as a socket reports it; `::ffff:a.b.c.d` is a.b.c.d, a zone (`%eth0`) is ignored. */
  allows(ip: string): boolean {
    const known = this.#answers.get(ip)
    if (known !== undefined) return known
    const plain = plainAddress(ip)
    const family = familyOf(plain)
    const answer = family !== undefined && this.#networks[family].check(plain, family)
    if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
    this.#answers.set(ip, answer)
    return answer
  }

  #add(entry: string): void {
    if (Object.hasOwn(NAMED_NETWORKS, entry)) {
      for (const network of NAMED_NETWORKS[entry as keyof typeof NAMED_NETWORKS]) this.#add(network)
      return
    }
    const [, written = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? []
    const mapped = plainAddress(written)
    const shortened = mapped !== written && isIPv4(mapped) && isIPv6(written)
    const family = familyOf(mapped)
    const bitsMax = family === 'ipv4' ? 32 : 128
    const bits = prefix === undefined ? bitsMax : Number(prefix) - (shortened ? 96 : 0)
    if (family === undefined || bits < 0 || bits > bitsMax) throw new NetworkSyntaxError(entry)
    this.#networks[family].addSubnet(mapped, bits, family)
  }
}

/**
 * The address without a zone, and as IPv4 where it is one mapped into IPv6 (`::ffff:10.0.0.1`, also in its
 * hexadecimal spelling `::ffff:a00:1`).
 */
export function plainAddress(ip: string): string {
  const percent = ip.indexOf('%')
  const address = percent < 0 ? ip : ip.slice(0, percent)
  if (!/^(?:0{0,4}:){2,5}ffff:/i.test(address) || !isIPv6(address)) return address
  const dotted = /^(?:0{0,4}:){2,5}ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (dotted?.[1]) return dotted[1]
  const words = /^(?:0{0,4}:){2,5}ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address)
  if (!words?.[1] || !words[2]) return address
  const high = parseInt(words[1], 16)
  const low = parseInt(words[2], 16)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/** An address or name that only programs of this machine reach. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return isIP(name) !== 0 && LOOPBACK.allows(plainAddress(name))
}

const LOOPBACK = AllowList.parse(['loopback'])

function familyOf(address: string): 'ipv4' | 'ipv6' | undefined {
  return isIPv4(address) ? 'ipv4' : isIPv6(address) ? 'ipv6' : undefined
}
