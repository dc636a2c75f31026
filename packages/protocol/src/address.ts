/** Addresses of storage servers, as the field writes them (`ip:port;ip:port;` and a NUL) and as ours do. */
import { RejectedError } from './errors.ts'

/** At most this many addresses answer one SADDRS. */
export const ADDRESSES_MAX = 3

export interface Address {
  readonly host: string
  readonly port: number
}

const IPV4_MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** `::ffff:a.b.c.d` is a.b.c.d everywhere. */
export function plainIp(ip: string): string {
  const mapped = IPV4_MAPPED.exec(ip)
  return mapped ? mapped[1]! : ip
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/**
 * `host:port`, `[v6]:port`, or, where `portDefault` is given, a bare host.
 *
 * @throws {RejectedError} BAD_FIELD: not an address.
 */
export function parseAddress(text: string, portDefault?: number): Address {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:;,[\]]+))(?::(\d{1,5}))?$/.exec(text.trim())
  const port = match?.[3] === undefined ? portDefault : Number(match[3])
  if (!match || port === undefined || port < 1 || port > 65535) {
    throw new RejectedError('BAD_FIELD', `'${text}' is not an address: host:port is expected`)
  }
  return { host: (match[1] ?? match[2])!, port }
}

/** Text of the address list, each followed by a semicolon, then one NUL. */
export function encodeAddressList(addresses: readonly Address[]): Buffer {
  let text = ''
  for (const address of addresses) text += `${formatAddress(address)};`
  return Buffer.from(`${text}\0`, 'latin1')
}

/** @throws {RejectedError} BAD_FIELD: an entry that is no `ip:port`. */
export function decodeAddressList(source: Buffer): Address[] {
  const end = source.indexOf(0)
  const text = source.toString('latin1', 0, end < 0 ? source.byteLength : end)
  return text
    .split(';')
    .filter(entry => entry !== '')
    .map(entry => parseAddress(entry))
}
