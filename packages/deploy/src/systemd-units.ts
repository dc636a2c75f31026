/** Units of our servers, and what the distribution's units lack. */
import { EXIT } from '@tributary/runtime'
import { CONFIG_FILE, storagePlaces } from './cluster-addresses.ts'
import { bricksOf, type Description, type Host } from './description.ts'
import { hostFile, type RenderedFile } from './rendered-file.ts'
import { mountUnitName } from './gluster-volume.ts'
import { storageFlags } from './tributary-config.ts'

const UNIT_FOLDER = '/etc/systemd/system'

/** Servers get 10 s for an orderly stop (`stop_timeout_s`); then a little, then they are killed. */
const STOP_S = 15

/** Nothing of the machine but what is named. No MemoryDenyWriteExecute: Node compiles as it runs. */
const HARDENING = `NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0027`

/** Servers of ours on a host, in the order of their start. */
export function ownUnits(description: Description, host: Host): string[] {
  const storages = storagePlaces(description, host.name).map(({ group }, at) => storageUnit(group, at))
  return [
    ...(host.roles.includes('tracker') ? ['tributary-tracker.service'] : []),
    ...(host.roles.includes('id') ? ['tributary-id.service'] : []),
    ...storages,
    ...(host.roles.includes('gateway') ? ['tributary-gateway.service'] : []),
    ...(host.roles.includes('worker') ? ['tributary-worker.service'] : [])
  ]
}

export function systemdFiles(description: Description, host: Host): RenderedFile[] {
  const { name, roles } = host
  const files: RenderedFile[] = []
  const unit = (file: string, text: string): void =>
    void files.push(hostFile(name, `${UNIT_FOLDER}/${file}`, text))
  const dropIn = (service: string, text: string): void => unit(`${service}.d/tributary.conf`, text)

  if (roles.includes('tracker')) unit('tributary-tracker.service', serviceText('tracker', 'tracker', []))
  if (roles.includes('id')) unit('tributary-id.service', serviceText('ID server', 'id', []))
  for (const [at, { group }] of storagePlaces(description, name).entries()) {
    unit(
      storageUnit(group, at),
      serviceText(`storage server of ${group}`, 'storage', storageFlags(description, host, at), group)
    )
  }
  if (roles.includes('gateway')) unit('tributary-gateway.service', serviceText('gateway', 'gateway', []))
  if (roles.includes('worker')) unit('tributary-worker.service', serviceText('worker', 'worker', []))

  if (bricksOf(description, name).length > 0) {
    dropIn(
      'glusterd.service',
      `# Bricks outlive glusterd, which only manages them: its restart must not be the group's.
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=always
RestartSec=2
KillMode=process
`
    )
  }
  if (roles.includes('database')) {
    dropIn(
      'mariadb.service',
      `# A node that found no other at its start ends; it must try again until there is one.
[Unit]
StartLimitIntervalSec=0
After=network-online.target
Wants=network-online.target
[Service]
Restart=always
RestartSec=3
`
    )
  }
  if (description.redis) redisDropIns(description.redis, name, dropIn)
  if (hasVirtualAddress(description, host)) {
    dropIn(
      'keepalived.service',
      `# While it is dead its address stays where it was, whoever has it now: so it must not stay dead.
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=always
RestartSec=1
`
    )
  }
  return files
}

export function hasVirtualAddress(description: Description, host: Host): boolean {
  return description.virtualAddresses.some(({ name }) =>
    name === 'tracker' || name === 'gateway'
      ? host.roles.includes(name)
      : storagePlaces(description, host.name).some(({ group }) => group === name)
  )
}

function redisDropIns(
  { primary, replicas, sentinels }: NonNullable<Description['redis']>,
  host: string,
  dropIn: (service: string, text: string) => void
): void {
  if ([primary, ...replicas].includes(host)) {
    dropIn(
      'redis-server.service',
      '[Unit]\nAfter=network-online.target\nWants=network-online.target\nStartLimitIntervalSec=0\n[Service]\nRestartSec=1\n'
    )
  }
  if (sentinels.includes(host)) {
    dropIn(
      'redis-sentinel.service',
      `# Sentinel writes what it learns into its own file: that one is its state, and not what was rendered.
[Unit]
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/usr/bin/redis-sentinel /var/lib/redis/sentinel.conf --supervised systemd --daemonize no
RestartSec=1
`
    )
  }
}

function storageUnit(group: string, at: number): string {
  return at === 0 ? 'tributary-storage.service' : `tributary-storage-${group}.service`
}

/**
 * A storage server waits for its mount but does not require it: required, a mount that failed once would keep it down
 * for good. Without its volume it starts again and again, and writes nothing, because the marker is not there.
 */
function serviceText(title: string, verb: string, flags: readonly string[], group?: string): string {
  const mount = group === undefined ? undefined : mountUnitName(group)
  const waits = [
    'network-online.target',
    ...(mount === undefined ? [] : [mount, 'tributary-mounts.service'])
  ].join(' ')
  return `[Unit]
Description=Tributary ${title}
Wants=${waits}
After=${waits}
StartLimitIntervalSec=0

[Service]
Type=exec
User=tributary
Group=tributary
ExecStart=/usr/bin/tributary ${[verb, '--config', CONFIG_FILE, ...flags].join(' ')}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
# Wrong configuration: starting again would not help. A storage server that left its group was told to.
RestartPreventExitStatus=${EXIT.misconfigured} ${EXIT.left}
SuccessExitStatus=${EXIT.left}
KillMode=mixed
TimeoutStopSec=${STOP_S}
LimitNOFILE=65536
${HARDENING}
${group === undefined ? '' : `ReadWritePaths=-/srv/tributary\n`}
[Install]
WantedBy=multi-user.target
`
}
