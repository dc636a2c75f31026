/** Virtual addresses: VRRP between the hosts of a role, led by whether the role is ready. */
import {
  addressHosts,
  portsBehind,
  routerIdOf,
  type Description,
  type Host,
  type VirtualAddress
} from './description.ts'
import { networkHolds, parseNetworkText } from './network.ts'
import { hostFile, type RenderedFile } from './rendered-file.ts'

/**
 * Every host has the same priority, and one that is not ready has less.
 *
 * So an address leaves a host whose role fails, and goes to any that is ready; one that comes back takes nothing away
 * (an equal priority does not preempt); and while none is ready, say because the database is gone, the address stays
 * with a host that can still serve what it has at hand. `nopreempt` would not do: then nobody takes the address from
 * a host that lives and fails.
 */
const PRIORITY = 100
const NOT_READY = -50
/** Seconds. Three missed ones and a little are a dead host: 0.7 s. */
const ADVERT_S = 0.2
/** Keepalived takes whole seconds here. One late answer of a busy host is no failure: two are. */
const CHECK_S = 1
const FALL = 2
/**
 * Whoever heard of the address within the last second takes no other answer for it (Linux's locktime): a frozen gateway's kernel
 * goes on answering, so the first announcement may fall on deaf ears.
 */
const ANNOUNCED_AGAIN_S = 1
const RISE = 2

export function keepalivedFiles(description: Description, host: Host): RenderedFile[] {
  const mine = description.virtualAddresses.filter(virtual =>
    addressHosts(description, virtual).includes(host)
  )
  if (mine.length === 0) return []
  const parts = mine.map(virtual => instanceText(description, host, virtual))
  return [
    hostFile(
      host.name,
      '/etc/keepalived/keepalived.conf',
      `${globalText(description, host)}${parts.join('')}`
    )
  ]
}

/** Bits of the network that an address is in. */
export function prefixOf({ networks }: Description, address: string): number {
  const network = networks
    .map(parseNetworkText)
    .find(network => network !== undefined && networkHolds(network, address))
  return network?.prefix ?? 32
}

/** The checks run as root: with another user `keepalived -t` of Debian 12 kills itself, and nobody could try the file. */
function globalText({ name }: Description, host: Host): string {
  return `# Made by 'tributary deploy render'.
global_defs {
    router_id ${name}-${host.name}
    vrrp_version 3
    enable_script_security
    script_user root
    vrrp_garp_master_delay ${ANNOUNCED_AGAIN_S}
    vrrp_garp_master_refresh 30
}
`
}

function instanceText(description: Description, host: Host, virtual: VirtualAddress): string {
  const { name, address } = virtual
  const { admin } = portsBehind(description, virtual, host.name)
  const peers = addressHosts(description, virtual).filter(peer => peer !== host)
  const unicast =
    peers.length === 0
      ? ''
      : `    unicast_peer {\n${peers.map(peer => `        ${peer.address}`).join('\n')}\n    }\n`
  return `
vrrp_script ready_${name} {
    script "/usr/bin/curl --silent --fail --output /dev/null --max-time 0.9 http://${host.address}:${admin}/readyz"
    interval ${CHECK_S}
    timeout ${CHECK_S}
    fall ${FALL}
    rise ${RISE}
    weight ${NOT_READY}
    init_fail
}

vrrp_instance ${name} {
    state BACKUP
    interface ${host.device}
    virtual_router_id ${routerIdOf(virtual)}
    priority ${PRIORITY}
    advert_int ${ADVERT_S}
    unicast_src_ip ${host.address}
${unicast}    virtual_ipaddress {
        ${address}/${prefixOf(description, address)} dev ${host.device}
    }
    track_script {
        ready_${name}
    }
}
`
}
