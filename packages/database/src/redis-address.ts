/** Where the cache is: one server, or Sentinels that know which server it is now. */
export type RedisAddress =
  | { readonly kind: 'server'; readonly url: string }
  | {
      readonly kind: 'sentinels'
      readonly sentinels: readonly { readonly host: string; readonly port: number }[]
      /** Of the primary, among those that the Sentinels watch. */
      readonly name: string
      /** Of the servers; Sentinels are asked without. */
      readonly user: string | undefined
      readonly password: string | undefined
    }

const SENTINEL_PORT = 26_379
const SENTINELS_MAX = 32
const SENTINEL_URL =
  /^redis-sentinel:\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^@/?#]*))?@)?(?<hosts>[^@/?#]+)\/(?<name>[A-Za-z0-9._-]{1,64})$/
const HOST_PORT = /^(?:\[(?<six>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]+))(?::(?<port>\d{1,5}))?$/

/**
 * Reads `redis://[user:password@]host:port`, `rediss://…` with TLS, or
 * `redis-sentinel://[user:password@]host:port,host:port/name`; parts percent-encoded where they must be.
 *
 * @throws {Error} whose message says what was expected, and holds no password.
 */
export function redisAddressOf(url: string): RedisAddress {
  if (/^rediss?:\/\/[^/]/.test(url) && URL.canParse(url)) return { kind: 'server', url }
  const { user, password, hosts, name } = SENTINEL_URL.exec(url)?.groups ?? {}
  const sentinels = (hosts ?? '').split(',').map(text => {
    const { six, host, port = String(SENTINEL_PORT) } = HOST_PORT.exec(text)?.groups ?? {}
    return { host: six ?? host ?? '', port: Number(port) }
  })
  const areSound = sentinels.every(({ host, port }) => host !== '' && port >= 1 && port <= 65_535)
  if (name === undefined || !areSound || sentinels.length > SENTINELS_MAX) {
    throw new Error(
      'redis://[user:password@]host:port or redis-sentinel://[user:password@]host:port,host:port/name'
    )
  }
  return { kind: 'sentinels', sentinels, name, user: decoded(user), password: decoded(password) }
}

/** As the `parse` of a configuration key. @throws {Error} as redisAddressOf does. */
export function checkRedisUrl(url: string): string {
  redisAddressOf(url)
  return url
}

function decoded(part: string | undefined): string | undefined {
  return part === undefined || part === '' ? undefined : decodeURIComponent(part)
}
