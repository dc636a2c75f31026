import { parse as parseToml, TomlError } from 'smol-toml'
import { nearest } from '@tributary/runtime'
import type { Description, Group, Host, RedisDescription, VirtualAddress } from './description.ts'
import type { Finding } from './finding.ts'

type Table = Record<string, unknown>

export interface ReadDescription {
  /** What could be read; where a value is of the wrong type its default stands in. */
  description: Description
  /** Unknown keys, wrong types, missing keys. What the values mean is checked elsewhere. */
  findings: Finding[]
}

const DEVICE_DEFAULT = 'eth0'
const BUFFER_POOL_DEFAULT = '256M'
const REDIS_MEMORY_DEFAULT = '256mb'

/** Reads the TOML of a description. Never throws for what is in it: every problem is a finding. */
export function readDescription(text: string): ReadDescription {
  const findings: Finding[] = []
  let top: Table = {}
  try {
    top = parseToml(text, { unsafeKeyBehaviour: 'throw' }) as Table
  } catch (error) {
    const where = error instanceof TomlError ? `line ${error.line}, column ${error.column}` : ''
    const [reason = ''] = (error as Error).message.split('\n')
    findings.push({ severity: 'error', key: 'file', value: where, expected: `TOML: ${reason}` })
    return { description: describe(new TableReader({}, '', [])), findings }
  }
  return { description: describe(new TableReader(top, '', findings)), findings }
}

function describe(top: TableReader): Description {
  const cluster = top.table('cluster', true)
  const device = cluster.text('device', DEVICE_DEFAULT)
  const database = top.table('database')
  const gateway = top.table('gateway')
  const wire = top.table('wire')
  const storage = top.table('storage')
  const worker = top.table('worker')
  const volumes = top.table('volumes')
  const regions = top.table('regions')
  const description: Description = {
    name: cluster.text('name'),
    networks: cluster.texts('networks', true),
    allow: cluster.texts('allow'),
    applications: cluster.texts('applications', false, ['media']),
    secrets: cluster.text('secrets', ''),
    hosts: top.tables('hosts', true).map(table => readHost(table, device)),
    groups: top.tables('groups').map(readGroup),
    virtualAddresses: top.tables('virtual_addresses').map(readAddress),
    database: {
      name: database.text('name', 'tributary'),
      user: database.text('user', 'tributary'),
      migrateUser: database.text('migrate_user', 'migrate'),
      external: database.texts('external'),
      tls: database.flag('tls', false),
      bufferPool: database.text('buffer_pool', BUFFER_POOL_DEFAULT)
    },
    redis: top.has('redis') ? readRedis(top.table('redis')) : undefined,
    gateway: {
      allow: gateway.texts('allow'),
      names: gateway.texts('names'),
      certificate: gateway.text('certificate', ''),
      privateKey: gateway.text('private_key', '')
    },
    wire: { clusterKey: wire.flag('cluster_key', false), legacyAllow: wire.texts('legacy_allow') },
    storage: { workers: storage.count('workers', 1) },
    worker: { profiles: worker.texts('profiles') },
    regions: { networks: regions.texts('networks'), applications: regions.texts('applications') },
    rootDisk: volumes.flag('on_root_disk', false)
  }
  for (const table of [cluster, database, gateway, wire, storage, worker, volumes, regions, top]) table.end()
  return description
}

function readHost(table: TableReader, device: string): Host {
  const host = {
    name: table.text('name'),
    address: table.text('address'),
    region: table.text('region', ''),
    device: table.text('device', device),
    roles: table.texts('roles')
  }
  table.end()
  return host
}

function readGroup(table: TableReader): Group {
  const arbiter = table.text('arbiter', '')
  const group = {
    name: table.text('name'),
    members: table.texts('members', true),
    arbiter: arbiter === '' ? undefined : arbiter,
    region: table.text('region', '')
  }
  table.end()
  return group
}

function readAddress(table: TableReader): VirtualAddress {
  const address = {
    name: table.text('for'),
    address: table.text('address'),
    routerId: table.count('router_id', 0)
  }
  table.end()
  return address
}

function readRedis(table: TableReader): RedisDescription {
  const redis = {
    primary: table.text('primary'),
    replicas: table.texts('replicas'),
    sentinels: table.texts('sentinels'),
    memory: table.text('memory', REDIS_MEMORY_DEFAULT)
  }
  table.end()
  return redis
}

/** Takes keys out of one table; what nobody took is unknown. */
class TableReader {
  readonly #table: Table
  readonly #path: string
  readonly #findings: Finding[]
  readonly #asked = new Set<string>()

  constructor(table: Table, path: string, findings: Finding[]) {
    this.#table = table
    this.#path = path
    this.#findings = findings
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#table, key)
  }

  /** @param preset without it the key must be given. */
  text(key: string, preset?: string): string {
    const value = this.#take(key, preset === undefined ? 'a text' : undefined)
    if (value === undefined) return preset ?? ''
    if (typeof value === 'string' && !hasControls(value)) return value
    return this.#wrong(key, value, 'a text of one line', preset ?? '')
  }

  texts(key: string, required = false, preset: readonly string[] = []): readonly string[] {
    const value = this.#take(key, required ? 'a list of texts' : undefined)
    if (value === undefined) return preset
    const isList =
      Array.isArray(value) && value.every(entry => typeof entry === 'string' && !hasControls(entry))
    return isList ? (value as string[]) : this.#wrong(key, value, 'a list of texts', preset)
  }

  /** A whole number from 0. */
  count(key: string, preset: number): number {
    const value = this.#take(key)
    if (value === undefined) return preset
    const isCount = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    return isCount ? value : this.#wrong(key, value, 'a whole number', preset)
  }

  flag(key: string, preset: boolean): boolean {
    const value = this.#take(key)
    if (value === undefined) return preset
    return typeof value === 'boolean' ? value : this.#wrong(key, value, 'true or false', preset)
  }

  table(key: string, required = false): TableReader {
    const value = this.#take(key, required ? `a table [${key}]` : undefined)
    const table = isTable(value) ? value : {}
    if (value !== undefined && !isTable(value)) this.#wrong(key, value, `a table [${key}]`, undefined)
    // What a missing table lacks is told once, with the table.
    return new TableReader(table, this.#name(key), value === undefined && required ? [] : this.#findings)
  }

  tables(key: string, required = false): TableReader[] {
    const value = this.#take(key, required ? `tables [[${key}]]` : undefined)
    if (value === undefined) return []
    if (!Array.isArray(value) || !value.every(isTable))
      return this.#wrong(key, value, `tables [[${key}]]`, [])
    return value.map((table: Table, at) => {
      const name = table['name'] ?? table['for']
      return new TableReader(
        table,
        `${this.#name(key)}.${typeof name === 'string' ? name : at}`,
        this.#findings
      )
    })
  }

  /** Reports the keys that nobody asked for. */
  end(): void {
    const known = [...this.#asked]
    for (const key of Object.keys(this.#table)) {
      if (this.#asked.has(key)) continue
      const meant = nearest(key, known)
      const expected = meant ? `a known key; did you mean '${meant}'?` : `a known key: ${known.join(', ')}`
      this.#findings.push({ severity: 'error', key: this.#name(key), value: '', expected })
    }
  }

  #take(key: string, required?: string): unknown {
    this.#asked.add(key)
    if (this.has(key)) return this.#table[key]
    if (required !== undefined) {
      this.#findings.push({
        severity: 'error',
        key: this.#name(key),
        value: '',
        expected: `${required}: it is not set`
      })
    }
    return undefined
  }

  #wrong<Value>(key: string, value: unknown, expected: string, preset: Value): Value {
    const shown = JSON.stringify(value, (_, inner: unknown) =>
      typeof inner === 'bigint' ? String(inner) : inner
    )
    this.#findings.push({ severity: 'error', key: this.#name(key), value: shown, expected })
    return preset
  }

  #name(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** A line break in a name would become a line of its own in a file of a root's. */
function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text)
}
