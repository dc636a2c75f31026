import { isIPv6 } from 'node:net'

export interface HostPort {
  /** A name or an address; IPv6 without brackets. */
  readonly host: string
  /** 0..65535; 0 where the listener may choose. */
  readonly port: number
}

/**
 * Reads `host:port`, IPv6 in brackets: `[fd00::1]:21000`.
 *
 * @param defaultPort  taken where the text has none.
 * @throws {Error} with a message that says what was expected.
 */
export function parseHostPort(text: string, defaultPort?: number): HostPort {
  const [, bracketed, plain, portText] =
    /^(?:\[([^\]]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text.trim()) ?? []
  const host = bracketed ?? plain
  const port = portText === undefined ? defaultPort : Number(portText)
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed))) {
    throw new Error('expected host:port, with IPv6 addresses in brackets')
  }
  if (port === undefined) throw new Error('expected host:port; the port is missing')
  if (port > 65_535) throw new Error('expected a port from 0 to 65535')
  return { host, port }
}

/** Writes `host:port`, IPv6 in brackets. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
