/** Tributary's own configuration on a host, and what its commands of upkeep need. */
import { stringify } from 'smol-toml'
import {
  CONFIG_FILE,
  CONFIG_FOLDER,
  databaseUrls,
  HEAL_REPORTS,
  idServers,
  redisUrl,
  storagePlaces,
  storeOf,
  trackers
} from './cluster-addresses.ts'
import { addressHosts, PORTS, servesHttps, type Description, type Host } from './description.ts'
import { GROUP_ONLY, hostFile, type RenderedFile } from './rendered-file.ts'
import type { Secrets } from './secrets.ts'

const CLUSTER_KEY_FILE = `${CONFIG_FOLDER}/cluster-key`
/** A server behind a virtual address must take what arrives for it, whether this host has it now or not. */
const EVERY_ADDRESS = '0.0.0.0'
/** Above twice network.ping-timeout, which is how long GlusterFS may take to give a brick up: else every member gives the volume up. */
const VOLUME_DEADLINE_S = 12
const GENERATED =
  "Made by 'tributary deploy render': change the description of the cluster, and render again."

export function tributaryFiles(description: Description, host: Host, secrets: Secrets): RenderedFile[] {
  const files = [
    hostFile(host.name, CONFIG_FILE, configText(description, host, secrets), GROUP_ONLY),
    hostFile(
      host.name,
      `${CONFIG_FOLDER}/database.env`,
      databaseEnvironment(description, secrets),
      GROUP_ONLY
    )
  ]
  if (host.roles.includes('gateway')) {
    files.push(hostFile(host.name, `${CONFIG_FOLDER}/write-token`, `${secrets.writeToken}\n`, GROUP_ONLY))
  }
  if (description.wire.clusterKey) {
    files.push(hostFile(host.name, CLUSTER_KEY_FILE, `${secrets.clusterKey}\n`, GROUP_ONLY))
  }
  return files
}

/** Flags of a host's further storage servers: the file describes the first. */
export function storageFlags(description: Description, host: Host, at: number): string[] {
  const place = storagePlaces(description, host.name)[at]
  if (at === 0 || place === undefined) return []
  return [
    ['--group', place.group],
    ['--stores', storeOf(place.group)],
    ['--host', listenAddress(description, host, place.group)],
    ['--port', String(place.port)],
    ['--admin-port', String(place.admin)],
    ['--advertise', `${host.address}:${place.port}`]
  ].flat()
}

function configText(description: Description, host: Host, secrets: Secrets): string {
  const { gateway, networks, allow, regions, storage } = description
  const redis = redisUrl(description, secrets)
  const places = storagePlaces(description, host.name)
  const names = description.virtualAddresses
    .filter(({ name }) => name === 'gateway')
    .map(({ address }) => address)
  const tables: Record<string, Record<string, unknown>> = {
    common: {
      trackers: trackers(description),
      id_servers: idServers(description),
      database: databaseUrls(description, description.database.user, secrets.databasePassword),
      ...(redis !== undefined && { redis }),
      allow: ['loopback', ...networks, ...allow],
      admin_host: host.address,
      host_name: host.name,
      ...(description.wire.clusterKey && { cluster_key_file: CLUSTER_KEY_FILE }),
      ...(description.wire.legacyAllow.length > 0 && { legacy_allow: description.wire.legacyAllow })
    }
  }
  if (host.roles.includes('tracker')) {
    tables['tracker'] = {
      host: listenAddress(description, host, 'tracker'),
      port: PORTS.tracker,
      admin_port: PORTS.trackerAdmin,
      ...(regions.networks.length > 0 && { network_regions: regions.networks }),
      ...(regions.applications.length > 0 && { application_regions: regions.applications })
    }
  }
  if (host.roles.includes('id')) {
    tables['id'] = { host: host.address, port: PORTS.id, admin_port: PORTS.idAdmin }
  }
  const [first] = places
  if (first) {
    tables['storage'] = {
      host: listenAddress(description, host, first.group),
      port: first.port,
      admin_port: first.admin,
      group: first.group,
      stores: [storeOf(first.group)],
      mount: 'fuse.glusterfs',
      replication: 'glusterfs',
      heal_reports: HEAL_REPORTS,
      member: host.name,
      // The sender's address could be a virtual one, which is another host's a moment later.
      advertise: [`${host.address}:${first.port}`],
      workers: storage.workers,
      volume_deadline_s: VOLUME_DEADLINE_S
    }
  }
  if (host.roles.includes('gateway')) {
    tables['gateway'] = {
      host: listenAddress(description, host, 'gateway'),
      port: PORTS.gateway,
      // Its own servers and Prometheus ask it too, whoever else may.
      allow: [...new Set(['loopback', ...networks, ...gateway.allow])],
      write_token_file: `${CONFIG_FOLDER}/write-token`,
      names: [...new Set([host.name, host.address, ...names, ...gateway.names])],
      ...(servesHttps(description) && {
        certificate: gateway.certificate,
        private_key: gateway.privateKey,
        // Keepalived and Prometheus ask by address, and a certificate is for names.
        admin_port: PORTS.gatewayAdmin
      })
    }
  }
  if (host.roles.includes('worker')) {
    const { profiles } = description.worker
    tables['worker'] = {
      name: host.name,
      admin_port: PORTS.workerAdmin,
      ...(profiles.length > 0 && { profiles })
    }
  }
  return `# ${GENERATED}\n${stringify(tables)}\n`
}

function listenAddress(description: Description, host: Host, name: string): string {
  const virtual = description.virtualAddresses.find(virtual => virtual.name === name)
  const isBehind = virtual && addressHosts(description, virtual).includes(host)
  return isBehind ? EVERY_ADDRESS : host.address
}

/** For `storage init`, `fsck` and the like: `set -a; . /etc/tributary/database.env`. */
function databaseEnvironment(description: Description, secrets: Secrets): string {
  const urls = databaseUrls(description, description.database.user, secrets.databasePassword)
  const key = description.wire.clusterKey ? `TRIBUTARY_CLUSTER_KEY_FILE='${CLUSTER_KEY_FILE}'\n` : ''
  return `# ${GENERATED}\nTRIBUTARY_COMMON_DATABASE='${urls.join(',')}'\n${key}`
}
