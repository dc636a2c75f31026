/** What one file says about a cluster. */

/** Roles that a host is given; those of storage, volumes and Redis follow from groups and `[redis]`. */
export const HOST_ROLES = ['tracker', 'id', 'gateway', 'database', 'worker'] as const
export type HostRole = (typeof HOST_ROLES)[number]

/** Where everything listens: the conventions of the protocol and of the engines. All below 32768, where outgoing ones begin. */
export const PORTS = {
  tracker: 21_000,
  id: 22_000,
  /** One more for each further group of a host. */
  storage: 23_000,
  gateway: 8_080,
  /** Health and metrics of a gateway that speaks HTTPS; without it they are on its one port. */
  gatewayAdmin: 8_980,
  trackerAdmin: 21_900,
  idAdmin: 22_900,
  storageAdmin: 23_900,
  workerAdmin: 24_900,
  database: 3_306,
  galera: 4_567,
  galeraIncremental: 4_568,
  galeraTransfer: 4_444,
  redis: 6_379,
  sentinel: 26_379
} as const

export interface Host {
  readonly name: string
  /** IPv4. */
  readonly address: string
  readonly region: string
  /** Network interface that virtual addresses are put on. */
  readonly device: string
  readonly roles: readonly string[]
}

export interface Group {
  readonly name: string
  readonly members: readonly string[]
  readonly arbiter: string | undefined
  readonly region: string
}

export interface VirtualAddress {
  /** `gateway`, `tracker`, or a group's name. */
  readonly name: string
  readonly address: string
  /** VRRP's number of it, 1 to 255; 0: the last byte of its address. */
  readonly routerId: number
}

export interface DatabaseDescription {
  /** Name of the database in MariaDB. */
  readonly name: string
  readonly user: string
  readonly migrateUser: string
  /** host:port of somebody else's MariaDB or MySQL; empty: Galera on the hosts with the role. */
  readonly external: readonly string[]
  /** External ones only: encrypted, certificate checked against the system's authorities. */
  readonly tls: boolean
  readonly bufferPool: string
}

export interface RedisDescription {
  readonly primary: string
  readonly replicas: readonly string[]
  readonly sentinels: readonly string[]
  readonly memory: string
}

export interface GatewayDescription {
  readonly allow: readonly string[]
  readonly names: readonly string[]
  /** Paths on every host with the role, where the operator keeps the files; empty: HTTP. */
  readonly certificate: string
  readonly privateKey: string
}

export interface Description {
  readonly name: string
  /** Where hosts and virtual addresses are; everybody in them may connect to every role. */
  readonly networks: readonly string[]
  /** Further networks that may connect to trackers, ID and storage servers. */
  readonly allow: readonly string[]
  readonly applications: readonly string[]
  /** Path of the secrets file, from the description's folder; empty: beside it. */
  readonly secrets: string
  readonly hosts: readonly Host[]
  readonly groups: readonly Group[]
  readonly virtualAddresses: readonly VirtualAddress[]
  readonly database: DatabaseDescription
  readonly redis: RedisDescription | undefined
  readonly gateway: GatewayDescription
  /** Whether our programs prove a key to each other, and which networks' legacy peers are served without. */
  readonly wire: { readonly clusterKey: boolean; readonly legacyAllow: readonly string[] }
  readonly storage: { readonly workers: number }
  /** Renditions that the hosts with the role make, as workers take them. */
  readonly worker: { readonly profiles: readonly string[] }
  /** Where the files of new users go, while they can: `network=region` and `application=region`, as trackers take them. */
  readonly regions: { readonly networks: readonly string[]; readonly applications: readonly string[] }
  /** Bricks may lie on the disk of the system itself. */
  readonly rootDisk: boolean
}

/** Hosts with a role, in the order of the description. */
export function hostsWith({ hosts }: Description, role: HostRole): Host[] {
  return hosts.filter(({ roles }) => roles.includes(role))
}

/** Groups whose files a host serves, in the order of the description: it decides the ports. */
export function groupsOf({ groups }: Description, host: string): Group[] {
  return groups.filter(({ members }) => members.includes(host))
}

/** Groups that a host keeps a brick of: as a member, or as the arbiter. */
export function bricksOf({ groups }: Description, host: string): Group[] {
  return groups.filter(({ members, arbiter }) => members.includes(host) || arbiter === host)
}

/** Members, and last the arbiter: the order that `gluster volume create` wants. */
export function brickHosts({ members, arbiter }: Group): string[] {
  return arbiter === undefined ? [...members] : [...members, arbiter]
}

/** Hosts that take a virtual address in turn. */
export function addressHosts(description: Description, { name }: VirtualAddress): Host[] {
  if (name === 'tracker' || name === 'gateway') return hostsWith(description, name)
  const group = description.groups.find(group => group.name === name)
  return description.hosts.filter(host => group?.members.includes(host.name))
}

/** The port behind a virtual address on a host, and the one that answers /readyz. */
export function portsBehind(
  description: Description,
  { name }: VirtualAddress,
  host: string
): { port: number; admin: number } {
  if (name === 'tracker') return { port: PORTS.tracker, admin: PORTS.trackerAdmin }
  if (name === 'gateway') return { port: PORTS.gateway, admin: gatewayAdminPort(description) }
  const at = groupsOf(description, host).findIndex(group => group.name === name)
  return { port: PORTS.storage + at, admin: PORTS.storageAdmin + at }
}

export function servesHttps({ gateway }: Description): boolean {
  return gateway.certificate !== ''
}

/** Where a gateway tells its health over HTTP. */
export function gatewayAdminPort(description: Description): number {
  return servesHttps(description) ? PORTS.gatewayAdmin : PORTS.gateway
}

export function routerIdOf({ routerId, address }: VirtualAddress): number {
  return routerId === 0 ? Number(address.split('.').at(-1)) : routerId
}

/** @throws {Error} nobody has that name: the check comes before. */
export function hostNamed({ hosts }: Description, name: string): Host {
  const host = hosts.find(host => host.name === name)
  if (host === undefined) throw new Error(`no host '${name}'`)
  return host
}
