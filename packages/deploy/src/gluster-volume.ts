/** The mirrored volume of each group: how it is made, mounted, and kept mounted. */
import { brickOf, mountOf } from './cluster-addresses.ts'
import {
  brickHosts,
  bricksOf,
  groupsOf,
  hostNamed,
  type Description,
  type Group,
  type Host
} from './description.ts'
import { hostFile, SCRIPT, type RenderedFile } from './rendered-file.ts'

/**
 * Options of every volume.
 *
 * A member that is gone is given up after 5 s; without a majority of copies, or of the pool's glusterd, nothing is
 * written. Nothing of a file is answered from a cache of the mount: a delete is seen by every member at once, and an
 * id that is used again never shows old bytes. write-behind stays: whatever was promised was synced, and syncing
 * goes through it; but closing waits for it, so that an error is somebody's. There is no md-cache to invalidate
 * (stat-prefetch is off), so cache-invalidation would only cost messages.
 */
export const VOLUME_OPTIONS: readonly (readonly [string, string])[] = [
  ['network.ping-timeout', '5'],
  ['cluster.quorum-type', 'auto'],
  ['cluster.server-quorum-type', 'server'],
  ['cluster.self-heal-daemon', 'on'],
  ['cluster.heal-timeout', '60'],
  ['performance.open-behind', 'off'],
  ['performance.quick-read', 'off'],
  ['performance.nl-cache', 'off'],
  ['performance.stat-prefetch', 'off'],
  ['performance.io-cache', 'off'],
  ['performance.write-behind', 'on'],
  ['performance.flush-behind', 'off'],
  ['features.cache-invalidation', 'off']
]

/** `srv-tributary-group001.mount`: a mount's unit is named by its path. Group names are letters and digits. */
export function mountUnitName(group: string): string {
  return `${mountOf(group).slice(1).replaceAll('/', '-')}.mount`
}

/** `address:/path`, as gluster names a brick. */
export function brickName(address: string, group: string): string {
  return `${address}:${brickOf(group)}`
}

export function glusterFiles(description: Description, host: Host): RenderedFile[] {
  const groups = groupsOf(description, host.name)
  if (groups.length === 0) return []
  return [
    ...groups.map(group =>
      hostFile(
        host.name,
        `/etc/systemd/system/${mountUnitName(group.name)}`,
        mountUnit(description, host, group)
      )
    ),
    hostFile(host.name, '/etc/systemd/system/tributary-mounts.service', KEEPER_UNIT),
    hostFile(host.name, '/etc/tributary/keep-mounted', keeperScript(description, host, groups), SCRIPT)
  ]
}

function mountUnit(description: Description, host: Host, group: Group): string {
  const { source, path, options } = mountArguments(description, host, group)
  return `[Unit]
Description=Volume of ${group.name}
Wants=network-online.target glusterd.service
After=network-online.target glusterd.service

[Mount]
What=${source}
Where=${path}
Type=glusterfs
Options=${options}
TimeoutSec=60

[Install]
WantedBy=multi-user.target
`
}

function mountArguments(description: Description, host: Host, group: Group) {
  const others = brickHosts(group)
    .filter(name => name !== host.name)
    .map(name => hostNamed(description, name).address)
  const options = [
    '_netdev',
    'attribute-timeout=0',
    'entry-timeout=0',
    'negative-timeout=0',
    `backup-volfile-servers=${others.join(':')}`
  ].join(',')
  return { source: `${host.address}:/${group.name}`, path: mountOf(group.name), options }
}

const KEEPER_UNIT = `[Unit]
Description=Keeps the volumes of Tributary's groups mounted
Wants=network-online.target
After=network-online.target glusterd.service

[Service]
ExecStart=/bin/bash /etc/tributary/keep-mounted
Restart=always
RestartSec=2
# What it mounts is served by processes that outlive it.
KillMode=process

[Install]
WantedBy=multi-user.target
`

/** systemd tries a mount once, and nobody repairs one whose client has died. */
function keeperScript(description: Description, host: Host, groups: readonly Group[]): string {
  const rows = groups.map(group => {
    const { source, path, options } = mountArguments(description, host, group)
    return `  '${source} ${path} ${options}'`
  })
  return `#!/bin/bash
# Mounts what is not mounted, again where its client has died. A volume that hangs, or has no majority, is left alone:
# its client lives, and knows better. To unmount by hand, stop tributary-mounts first.
set -u
mounts=(
${rows.join('\n')}
)
while :; do
  for row in "\${mounts[@]}"; do
    read -r source path options <<<"$row"
    if grep -q " $path fuse.glusterfs " /proc/self/mounts; then
      timeout 5 stat --file-system "$path" >/dev/null 2>&1
      [[ $? -eq 1 ]] || continue
      pgrep -f "^/usr/sbin/glusterfs .*$path\\$" >/dev/null && continue
      echo "$path: its client is gone"
      umount -l "$path" || continue
    fi
    if timeout 60 mount -t glusterfs -o "$options" "$source" "$path"; then echo "$path: mounted"; fi
  done
  sleep 2
done
`
}

/** Hosts of the trusted pool: all that keep a brick. */
export function poolOf(description: Description): Host[] {
  return description.hosts.filter(({ name }) => bricksOf(description, name).length > 0)
}

/**
 * Bash: `probe ADDRESS` takes a host into the pool, and waits until it knows everybody in it: one that does not yet
 * refuses its own brick's question for what to serve.
 */
export const JOIN_POOL = `connected() { gluster "$@" pool list | grep -cw Connected || true; }

probe() {
  gluster peer probe "$1" >/dev/null
  local try
  for try in {1..60}; do
    if gluster peer status | grep -A2 -xF "Hostname: $1" | grep -F 'Peer in Cluster (Connected)' >/dev/null &&
      [[ "$(connected --remote-host="$1" 2>/dev/null)" -ge "$(connected)" ]]; then return; fi
    sleep 1
  done
  echo "$1 does not join the pool" >&2
  exit 1
}
`

/** Once, on one host of the pool: pool, volumes, options. Run again it changes what differs, and nothing else. */
export function glusterStep(description: Description): string {
  const pool = poolOf(description)
  const [first, ...others] = pool
  const probes = others.map(({ address }) => `probe ${address}`)
  const volumes = description.groups.map(group => {
    const bricks = brickHosts(group).map(name => brickName(hostNamed(description, name).address, group.name))
    const copies = group.arbiter === undefined ? `replica ${bricks.length}` : 'replica 3 arbiter 1'
    // The arbiter's brick holds names only; gluster warns of two copies otherwise, and of the system's disk.
    return `volume ${group.name} '${copies}' ${bricks.join(' ')}`
  })
  return `#!/bin/bash
# Makes the pool and the volumes; run it on ${first?.name ?? ''}, with glusterd running on every host of the pool.
set -euo pipefail

gluster() { timeout 120 /usr/sbin/gluster --mode=script "$@"; }

${JOIN_POOL}
volume() {
  local name=$1 copies=$2
  shift 2
  if ! gluster volume info "$name" >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    gluster volume create "$name" $copies transport tcp "$@"${description.rootDisk ? ' force' : ''}
  fi
  gluster volume set "$name" \\
${VOLUME_OPTIONS.map(([key, value]) => `    ${key} ${value}`).join(' \\\n')} >/dev/null
  gluster volume set "$name" auth.allow '127.0.0.1,${pool.map(({ address }) => address).join(',')}' >/dev/null
  if ! gluster volume info "$name" | grep -x 'Status: Started' >/dev/null; then gluster volume start "$name"; fi
  echo "$name: started"
}

for try in {1..60}; do
  if gluster pool list >/dev/null 2>&1; then break; fi
  sleep 1
done
${probes.join('\n')}
${volumes.join('\n')}
`
}
