/** What cannot work, and what hangs on one of something. */
import { isIPv4 } from 'node:net'
import { isGroupName, isName } from '@tributary/protocol'
import { parseNetwork } from '@tributary/runtime'
import {
  addressHosts,
  bricksOf,
  HOST_ROLES,
  hostsWith,
  PORTS,
  routerIdOf,
  servesHttps,
  type Description,
  type Group
} from './description.ts'
import { CONFIG_FOLDER } from './cluster-addresses.ts'
import type { Finding } from './finding.ts'
import { isReserved, networkHolds, parseNetworkText, type Network } from './network.ts'

const HOST_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const CLUSTER_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/
/** IFNAMSIZ, and no character that keepalived's or systemd's files give a meaning. */
const DEVICE_NAME = /^[A-Za-z0-9._-]{1,15}$/
const SQL_NAME = /^[A-Za-z0-9_]{1,32}$/
const SIZE = /^\d{1,6}[KMG]$/
const REDIS_SIZE = /^\d{1,6}(?:mb|gb)$/
const EXTERNAL = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):(\d{1,5})$/i
const REGION = /^[A-Za-z0-9_-]{0,32}$/
const PROFILE = /^[a-z0-9]{1,16}(?::\d{2,4}:\d{2,6}:\d{2,3})?$/
const FILE_NAME = /^[A-Za-z0-9._/-]*$/
const HOST_FILE = /^(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$/
/** What the units hide from a server: ProtectHome=, PrivateTmp=, PrivateDevices=. */
const HIDDEN_FOLDERS = ['/home', '/root', '/run/user', '/tmp', '/var/tmp', '/dev', '/proc']
/** Rendered, or made by a step; see tributary-config.ts and galera-config.ts. */
const RENDERED_NAMES = ['tributary.toml', 'database.env', 'write-token', 'migrate.env', 'grants.sql']
/** Certbot's own are root's alone. */
const CLOSED_FOLDER = '/etc/letsencrypt'
const HTTP_NAME = /^[A-Za-z0-9.:[\]-]{1,253}$/
const APPLICATION_CHARACTERS_MAX = 15
const WORKERS_MAX = 64
const ROUTER_ID_MAX = 255
/** A Galera cluster and a set of Sentinels decide by majority: fewer than three have none after a loss. */
const QUORUM_NODES_MIN = 3

/** @returns every problem, in the order of the description; errors and warnings. */
export function checkCluster(description: Description): Finding[] {
  return new ClusterCheck(description).findings
}

/** What several clusters would do to each other on one network. */
export function checkNeighbours(
  clusters: readonly { source: string; description: Description }[]
): Finding[] {
  const findings: Finding[] = []
  for (const [at, { source, description }] of clusters.entries()) {
    for (const other of clusters.slice(at + 1)) {
      const error = (key: string, value: string, expected: string): void =>
        void findings.push({ severity: 'error', key: `${source}: ${key}`, value, expected })
      if (description.name === other.description.name) {
        error('cluster.name', description.name, `another name than ${other.source}`)
      }
      for (const { name, address } of description.hosts) {
        const twin = other.description.hosts.find(host => host.address === address && address !== '')
        if (twin)
          error(
            `hosts.${name}.address`,
            address,
            `an address that is not host ${twin.name}'s of ${other.source}`
          )
      }
      for (const mine of description.virtualAddresses) {
        for (const theirs of other.description.virtualAddresses) {
          if (mine.address === theirs.address) {
            error(
              `virtual_addresses.${mine.name}.address`,
              mine.address,
              `an address that ${other.source} does not use`
            )
          }
          const shared = networksOf(description).some(
            network =>
              isIPv4(mine.address) &&
              isIPv4(theirs.address) &&
              networkHolds(network, mine.address) &&
              networkHolds(network, theirs.address)
          )
          if (shared && routerIdOf(mine) === routerIdOf(theirs)) {
            error(
              `virtual_addresses.${mine.name}.router_id`,
              String(routerIdOf(mine)),
              `a router id that ${other.source} does not use on the same network (for its ${theirs.name})`
            )
          }
        }
      }
    }
  }
  return findings
}

function networksOf({ networks }: Description): Network[] {
  return networks.map(parseNetworkText).filter(network => network !== undefined)
}

class ClusterCheck {
  readonly findings: Finding[] = []
  readonly #description: Description
  readonly #networks: Network[]
  readonly #hostNames: Set<string>

  constructor(description: Description) {
    this.#description = description
    this.#networks = networksOf(description)
    this.#hostNames = new Set(description.hosts.map(({ name }) => name))
    this.#cluster()
    this.#hosts()
    for (const group of description.groups) this.#group(group)
    this.#groups()
    this.#virtualAddresses()
    this.#certificate()
    this.#database()
    this.#redis()
    this.#regions()
    this.#singles()
  }

  #error(key: string, value: string, expected: string): void {
    this.findings.push({ severity: 'error', key, value, expected })
  }

  #warn(key: string, value: string, expected: string): void {
    this.findings.push({ severity: 'warning', key, value, expected })
  }

  #cluster(): void {
    const { name, networks, allow, applications, gateway, wire, storage, worker, secrets } = this.#description
    if (name !== '' && !CLUSTER_NAME.test(name)) {
      this.#error('cluster.name', name, 'up to 32 small letters, digits and dashes')
    }
    for (const text of networks) {
      if (parseNetworkText(text) === undefined) {
        this.#error('cluster.networks', text, 'IPv4 networks such as 10.77.0.0/24, host bits 0')
      }
    }
    for (const [key, list] of [
      ['cluster.allow', allow],
      ['gateway.allow', gateway.allow],
      ['wire.legacy_allow', wire.legacyAllow]
    ] as const) {
      for (const text of list) {
        if (!isNetwork(text)) this.#error(key, text, 'an address, a network, or loopback, private, any')
      }
    }
    if (wire.legacyAllow.length > 0 && !wire.clusterKey) {
      const expected = 'wire.cluster_key = true with it: without a key cluster.allow says who connects'
      this.#error('wire.legacy_allow', wire.legacyAllow.join(', '), expected)
    }
    if (applications.length === 0)
      this.#error('cluster.applications', '[]', 'at least one application: nobody could store anything')
    for (const id of applications) {
      if (!isName(id) || id.length > APPLICATION_CHARACTERS_MAX) {
        this.#error('cluster.applications', id, '1 to 15 letters or digits')
      }
    }
    for (const host of gateway.names) {
      if (!HTTP_NAME.test(host)) this.#error('gateway.names', host, 'a host name')
    }
    if (storage.workers < 1 || storage.workers > WORKERS_MAX) {
      this.#error('storage.workers', String(storage.workers), `a whole number from 1 to ${WORKERS_MAX}`)
    }
    for (const profile of worker.profiles) {
      if (!PROFILE.test(profile))
        this.#error('worker.profiles', profile, 'such as 720p, or name:height:video-kbit:audio-kbit')
    }
    if (!FILE_NAME.test(secrets))
      this.#error('cluster.secrets', secrets, 'a path of letters, digits, . _ - and /')
  }

  #hosts(): void {
    const { hosts } = this.#description
    const names = new Map<string, number>()
    const addresses = new Map<string, string>()
    for (const { name, address, device, roles, region } of hosts) {
      const key = `hosts.${name}`
      names.set(name, (names.get(name) ?? 0) + 1)
      if (name !== '' && !HOST_NAME.test(name)) {
        this.#error(`${key}.name`, name, 'a host name: small letters, digits and dashes, no dots')
      }
      if (names.get(name) === 2) this.#error(`${key}.name`, name, 'each host once')
      if (!DEVICE_NAME.test(device)) this.#error(`${key}.device`, device, 'the name of a network interface')
      if (!REGION.test(region)) this.#error(`${key}.region`, region, 'letters, digits, - and _')
      this.#hostAddress(key, address, addresses.get(address))
      if (!addresses.has(address)) addresses.set(address, name)
      for (const role of roles) {
        if ((HOST_ROLES as readonly string[]).includes(role)) continue
        const where =
          role === 'storage' || role === 'arbiter'
            ? "; a group's members and arbiter are named by the group"
            : /redis|sentinel/.test(role)
              ? '; [redis] names its hosts'
              : ''
        this.#error(`${key}.roles`, role, `one of ${HOST_ROLES.join(', ')}${where}`)
      }
      if (new Set(roles).size !== roles.length)
        this.#error(`${key}.roles`, roles.join(', '), 'each role once')
      if (roles.length === 0 && bricksOf(this.#description, name).length === 0 && !this.#isOfRedis(name)) {
        this.#error(key, '', 'a role, a place in a group or in [redis]: this host has nothing to do')
      }
    }
  }

  #hostAddress(key: string, address: string, other: string | undefined): void {
    if (address === '') return
    if (!isIPv4(address)) {
      this.#error(`${key}.address`, address, 'an IPv4 address')
      return
    }
    if (other !== undefined)
      this.#error(`${key}.address`, address, `an address of its own: it is also host ${other}'s`)
    const network = this.#networks.find(network => networkHolds(network, address))
    if (network === undefined && this.#networks.length > 0) {
      this.#error(
        `${key}.address`,
        address,
        `an address in cluster.networks: others may not connect to the servers`
      )
    } else if (network && isReserved(network, address)) {
      this.#error(`${key}.address`, address, `an address that a host may have in ${network.text}`)
    }
  }

  #isOfRedis(host: string): boolean {
    const { redis } = this.#description
    return redis !== undefined && [redis.primary, ...redis.replicas, ...redis.sentinels].includes(host)
  }

  #knownHost(key: string, name: string): void {
    if (name !== '' && !this.#hostNames.has(name)) this.#error(key, name, 'a host of this description')
  }

  #group({ name, members, arbiter, region }: Group): void {
    const key = `groups.${name}`
    if (name !== '' && !isGroupName(name)) this.#error(`${key}.name`, name, '1 to 16 letters or digits')
    if (!REGION.test(region)) this.#error(`${key}.region`, region, 'letters, digits, - and _')
    for (const member of members) this.#knownHost(`${key}.members`, member)
    if (new Set(members).size !== members.length)
      this.#error(`${key}.members`, members.join(', '), 'each member once')
    const value = members.join(', ')
    if (members.length === 0) {
      this.#error(`${key}.members`, '[]', 'three members, or two and an arbiter: this group has no host')
    } else if (members.length === 1) {
      this.#error(`${key}.members`, value, 'three members, or two and an arbiter: one member mirrors nothing')
    } else if (members.length === 2 && arbiter === undefined) {
      const why =
        'cut from each other, both would take writes for the same file, and then neither could be read'
      this.#error(`${key}.members`, value, `a third member, or an arbiter on another host: ${why}`)
    } else if (members.length > 2 && arbiter !== undefined) {
      this.#error(`${key}.arbiter`, arbiter, 'no arbiter: three members are a majority by themselves')
    } else if (members.length > 2 && members.length % 2 === 0) {
      this.#warn(`${key}.members`, value, 'an odd number of members: half of them are no majority')
    }
    if (arbiter === undefined) return
    this.#knownHost(`${key}.arbiter`, arbiter)
    if (members.includes(arbiter)) {
      this.#error(`${key}.arbiter`, arbiter, 'a host that is no member: it decides when a member is lost')
    }
  }

  #groups(): void {
    const { groups } = this.#description
    const names = groups.map(({ name }) => name)
    for (const name of new Set(names.filter((name, at) => names.indexOf(name) !== at))) {
      this.#error(`groups.${name}`, name, 'each group once')
    }
    for (const name of ['tracker', 'gateway']) {
      if (names.includes(name))
        this.#error(`groups.${name}.name`, name, "another name: virtual addresses are 'for' it")
    }
    if (groups.length === 0) this.#error('groups', '', 'at least one group: nothing could be stored')
    // Volumes of one pool also need a majority of its glusterd.
    const pool = new Set(
      groups.flatMap(({ members, arbiter }) => [...members, ...(arbiter === undefined ? [] : [arbiter])])
    )
    if (pool.size > 2 && pool.size % 2 === 0) {
      this.#warn(
        'groups',
        [...pool].join(', '),
        'an odd number of hosts with bricks: half of them are no majority of the pool'
      )
    }
  }

  #virtualAddresses(): void {
    const { hosts, virtualAddresses, groups } = this.#description
    const seen = { names: new Set<string>(), addresses: new Set<string>(), ids: new Map<number, string>() }
    for (const virtual of virtualAddresses) {
      const { name, address, routerId } = virtual
      const key = `virtual_addresses.${name}`
      const known = ['gateway', 'tracker', ...groups.map(group => group.name)]
      if (name !== '' && !known.includes(name)) this.#error(`${key}.for`, name, `one of ${known.join(', ')}`)
      if (seen.names.has(name)) this.#error(`${key}.for`, name, 'one virtual address for each')
      seen.names.add(name)
      if (address === '') continue
      if (!isIPv4(address)) {
        this.#error(`${key}.address`, address, 'an IPv4 address')
        continue
      }
      if (seen.addresses.has(address)) this.#error(`${key}.address`, address, 'an address of its own')
      seen.addresses.add(address)
      const owner = hosts.find(host => host.address === address)
      if (owner)
        this.#error(`${key}.address`, address, `an address that no host has: it is host ${owner.name}'s own`)
      this.#virtualNetwork(key, virtual.address, addressHosts(this.#description, virtual))
      if (routerId > ROUTER_ID_MAX)
        this.#error(`${key}.router_id`, String(routerId), `a number from 1 to ${ROUTER_ID_MAX}`)
      const id = routerIdOf(virtual)
      const other = seen.ids.get(id)
      if (other !== undefined) {
        this.#error(
          `${key}.router_id`,
          String(id),
          `another one than that of ${other} (the last byte of the address unless set)`
        )
      } else if (id === 0) this.#error(`${key}.router_id`, '0', `a number from 1 to ${ROUTER_ID_MAX}`)
      seen.ids.set(id, name)
      const takers = addressHosts(this.#description, virtual)
      if (known.includes(name) && takers.length === 0)
        this.#error(`${key}.for`, name, 'something that a host does')
      else if (takers.length === 1)
        this.#warn(`${key}.for`, name, 'two hosts or more: there is nowhere to move it')
      this.#samePorts(
        key,
        name,
        takers.map(host => host.name)
      )
    }
  }

  #virtualNetwork(key: string, address: string, hosts: readonly { name: string; address: string }[]): void {
    const network = this.#networks.find(network => networkHolds(network, address))
    if (network === undefined) {
      if (this.#networks.length > 0)
        this.#error(`${key}.address`, address, "an address in cluster.networks, where a host's is")
      return
    }
    if (isReserved(network, address))
      this.#error(`${key}.address`, address, `an address that a host may have in ${network.text}`)
    for (const host of hosts) {
      if (!isIPv4(host.address) || networkHolds(network, host.address)) continue
      this.#error(
        `${key}.address`,
        address,
        `an address in the network of host ${host.name} (${host.address})`
      )
    }
  }

  /** Clients that know one address know one port. */
  #samePorts(key: string, name: string, hosts: readonly string[]): void {
    if (name === 'tracker' || name === 'gateway') return
    const places = new Set(
      hosts.map(host =>
        this.#description.groups
          .filter(({ members }) => members.includes(host))
          .findIndex(group => group.name === name)
      )
    )
    if (places.size > 1) {
      const why = `ports follow the order of the groups (${PORTS.storage} and up)`
      this.#error(
        `${key}.for`,
        name,
        `the same port on every member: ${why}; let members share all their groups, or none`
      )
    }
  }

  #certificate(): void {
    const { certificate, privateKey } = this.#description.gateway
    if (certificate === '' && privateKey === '') return
    if (certificate === '')
      this.#error('gateway.certificate', '', 'the certificate of gateway.private_key: both or neither')
    if (privateKey === '')
      this.#error('gateway.private_key', '', 'the key of gateway.certificate: both or neither')
    for (const [key, path] of [
      ['gateway.certificate', certificate],
      ['gateway.private_key', privateKey]
    ] as const) {
      if (path !== '') this.#hostFile(key, path)
    }
    if (servesHttps(this.#description) && hostsWith(this.#description, 'gateway').length === 0)
      this.#warn('gateway.certificate', certificate, "a host with the role 'gateway': nobody would show it")
  }

  /** A file that the operator puts on hosts, and a server of ours reads. */
  #hostFile(key: string, path: string): void {
    const isBelow = (folder: string): boolean => path.startsWith(`${folder}/`)
    const hidden = HIDDEN_FOLDERS.find(isBelow)
    if (!HOST_FILE.test(path) || path.split('/').includes('..'))
      this.#error(key, path, 'a path on the gateways, from /, of letters, digits, . _ - and /')
    else if (hidden !== undefined) {
      const why = `the units hide ${hidden} from the servers`
      this.#error(key, path, `a file elsewhere, such as in ${CONFIG_FOLDER}: ${why}`)
    } else if (RENDERED_NAMES.some(name => path === `${CONFIG_FOLDER}/${name}`))
      this.#error(key, path, 'another name: this file is rendered')
    else if (isBelow(CLOSED_FOLDER)) {
      const why = `only root may enter ${CLOSED_FOLDER}/live and /archive`
      this.#warn(key, path, `a copy that the user tributary may read, made at each renewal: ${why}`)
    }
  }

  #database(): void {
    const { database } = this.#description
    const nodes = hostsWith(this.#description, 'database').map(({ name }) => name)
    for (const [key, value] of [
      ['name', database.name],
      ['user', database.user],
      ['migrate_user', database.migrateUser]
    ] as const) {
      if (!SQL_NAME.test(value)) this.#error(`database.${key}`, value, 'up to 32 letters, digits and _')
    }
    if (database.user === database.migrateUser) {
      this.#error(
        'database.migrate_user',
        database.migrateUser,
        'another user than database.user: servers may not change the schema'
      )
    }
    if (!SIZE.test(database.bufferPool))
      this.#error('database.buffer_pool', database.bufferPool, 'a size such as 256M or 2G')
    for (const text of database.external) {
      const port = Number(EXTERNAL.exec(text)?.[1] ?? 0)
      if (port < 1 || port > 65_535) this.#error('database.external', text, 'host:port')
    }
    if (database.external.length > 0) {
      if (nodes.length > 0) {
        this.#error(
          'database.external',
          database.external.join(', '),
          `either external addresses or hosts with the role, not both (${nodes.join(', ')})`
        )
      } else if (database.external.length === 1) {
        this.#warn(
          'database.external',
          database.external[0] ?? '',
          'two addresses or more, or one that moves: a single point of failure otherwise'
        )
      }
      return
    }
    if (database.tls)
      this.#error('database.tls', 'true', 'external addresses: the rendered Galera has no certificates')
    const value = nodes.join(', ')
    if (nodes.length === 0)
      this.#error('database', '', "hosts with the role 'database', or [database] external addresses")
    else if (nodes.length === 1) this.#warn('database', value, 'three nodes: a single point of failure')
    else if (nodes.length % 2 === 0) {
      const why =
        nodes.length === 2
          ? 'when one is lost the other has no majority and stops'
          : 'half of them are no majority'
      this.#error('database', value, `an odd number of nodes: ${why}`)
    }
  }

  #redis(): void {
    const { redis } = this.#description
    if (redis === undefined) return
    const { primary, replicas, sentinels, memory } = redis
    this.#knownHost('redis.primary', primary)
    for (const name of replicas) this.#knownHost('redis.replicas', name)
    for (const name of sentinels) this.#knownHost('redis.sentinels', name)
    const servers = [primary, ...replicas]
    if (new Set(servers).size !== servers.length) {
      this.#error('redis.replicas', replicas.join(', '), 'each host once, and not the primary')
    }
    if (new Set(sentinels).size !== sentinels.length)
      this.#error('redis.sentinels', sentinels.join(', '), 'each host once')
    if (!REDIS_SIZE.test(memory)) this.#error('redis.memory', memory, 'a size such as 256mb')
    const value = sentinels.join(', ')
    if (sentinels.length === 0) {
      if (replicas.length > 0)
        this.#error('redis.sentinels', '[]', 'three sentinels: nobody would make a replica the primary')
      else
        this.#warn(
          'redis',
          primary,
          'replicas and three sentinels: a single point of failure, though of a cache only'
        )
    } else if (sentinels.length < QUORUM_NODES_MIN || sentinels.length % 2 === 0) {
      this.#error('redis.sentinels', value, 'three sentinels, or another odd number: they decide by majority')
    } else if (replicas.length === 0) {
      this.#error('redis.replicas', '[]', 'a replica: the sentinels would have nothing to fail over to')
    }
  }

  #regions(): void {
    const { regions, groups, hosts, applications } = this.#description
    const prefer = (key: string, entry: string, what: string, isKnown: (what: string) => boolean): void => {
      const [left = '', region = '', ...surplus] = entry.split('=')
      if (surplus.length > 0 || region === '' || !REGION.test(region) || !isKnown(left))
        this.#error(key, entry, what)
      else if (!groups.some(group => group.region === region))
        this.#warn(key, entry, 'the region of a group: no group is there, and any other is taken')
    }
    for (const entry of regions.networks)
      prefer('regions.networks', entry, 'network=region, as 10.1.0.0/16=eu', isNetwork)
    for (const entry of regions.applications) {
      prefer('regions.applications', entry, 'application=region, of an application of the cluster', id =>
        applications.includes(id)
      )
    }
    for (const { region } of groups) {
      if (region !== '' && !hosts.some(host => host.region === region))
        this.#warn('groups', region, 'the region of a host: no host is there')
    }
  }

  #singles(): void {
    const { virtualAddresses } = this.#description
    for (const [role, what] of [
      ['tracker', 'no client would find anything'],
      ['id', 'nothing could be stored']
    ] as const) {
      const hosts = hostsWith(this.#description, role)
      if (hosts.length === 0) this.#error('hosts', '', `a host with the role '${role}': ${what}`)
      else if (hosts.length === 1)
        this.#warn(
          'hosts',
          hosts[0]?.name ?? '',
          `a second host with the role '${role}': a single point of failure`
        )
    }
    const gateways = hostsWith(this.#description, 'gateway')
    if (gateways.length === 0)
      this.#warn('hosts', '', "a host with the role 'gateway': nobody can play over HTTP")
    else if (gateways.length === 1)
      this.#warn(
        'hosts',
        gateways[0]?.name ?? '',
        "a second host with the role 'gateway': a single point of failure"
      )
    else if (!virtualAddresses.some(({ name }) => name === 'gateway')) {
      this.#warn(
        'virtual_addresses',
        '',
        "a virtual address for 'gateway': players know one address, and it would be one host's"
      )
    }
  }
}

function isNetwork(text: string): boolean {
  try {
    parseNetwork(text)
    return true
  } catch {
    return false
  }
}
