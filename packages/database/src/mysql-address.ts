import { invariant } from './invariant.ts'

export interface MysqlAddress {
  host: string
  port: number
  user: string
  password: string
  database: string
  /** `?tls=true`: encrypted, and the server's certificate is checked. */
  tls: boolean
  /** host:port/database, for messages: no name, no password. */
  label: string
}

const PORT = 3306

/** @param url `mysql://user:password@host:port/database`, parts percent-encoded where they must be. */
export function mysqlAddressOf(url: string): MysqlAddress {
  const parsed = URL.parse(url)
  invariant(
    parsed !== null && (parsed.protocol === 'mysql:' || parsed.protocol === 'mariadb:'),
    'a database address is sqlite:/path or mysql://user:password@host:port/database'
  )
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1')
  const database = decodeURIComponent(parsed.pathname.slice(1))
  invariant(host !== '' && database !== '', 'a mysql:// address names a host and a database')
  const port = parsed.port === '' ? PORT : Number(parsed.port)
  return {
    host,
    port,
    user: decodeURIComponent(parsed.username),
    password: decodeURIComponent(parsed.password),
    database,
    tls: parsed.searchParams.get('tls') === 'true',
    label: `${parsed.hostname}:${port}/${database}`
  }
}
