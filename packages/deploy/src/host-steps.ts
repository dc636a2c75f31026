/** What is done once on a host, and harmless to do again. */
import { CONFIG_FOLDER, mountOf, storeOf } from './cluster-addresses.ts'
import { bricksOf, groupsOf, servesHttps, type Description, type Group, type Host } from './description.ts'
import { databaseStep, databaseStepHost } from './galera-config.ts'
import { glusterStep, poolOf } from './gluster-volume.ts'
import { hostUnits } from './host-units.ts'
import { SCRIPT, type RenderedFile } from './rendered-file.ts'

export function prepareStepName(host: string): string {
  return `steps/05-prepare.${host}.sh`
}

export function glusterStepName(description: Description): string | undefined {
  const [first] = poolOf(description)
  return first && `steps/10-gluster.${first.name}.sh`
}

export function databaseStepName(description: Description): string | undefined {
  const host = databaseStepHost(description)
  return host && `steps/20-database.${host.name}.sh`
}

export function storeStepName({ name, members }: Group): string {
  return `steps/30-store-${name}.${members[0] ?? ''}.sh`
}

export function stepFiles(description: Description): RenderedFile[] {
  const files: RenderedFile[] = description.hosts.map(host => ({
    path: prepareStepName(host.name),
    text: prepareStep(description, host),
    mode: SCRIPT
  }))
  const add = (path: string | undefined, text: () => string): void => {
    if (path !== undefined) files.push({ path, text: text(), mode: SCRIPT })
  }
  add(glusterStepName(description), () => glusterStep(description))
  add(databaseStepName(description), () => databaseStep(description))
  for (const group of description.groups) add(storeStepName(group), () => storeStep(group))
  return files
}

/** gluster itself asks only when a volume is made; a brick that is added or replaced would fill the system's disk. */
const OWN_DISK = `mkdir -p /srv/bricks
if [[ "$(stat -c %d /srv/bricks)" == "$(stat -c %d /)" ]]; then
  echo 'bricks belong on a disk of their own: mount it at /srv/bricks, then run this again' >&2
  exit 1
fi
`

/** After the files of a host were put in place, the first time and each time after. */
function prepareStep(description: Description, host: Host): string {
  const { redis } = description
  const mounts = groupsOf(description, host.name).map(({ name }) => mountOf(name))
  const bricks = bricksOf(description, host.name).map(({ name }) => `/srv/bricks/${name}`)
  const servesRedis = redis !== undefined && [redis.primary, ...redis.replicas].includes(host.name)
  const isSentinel = redis?.sentinels.includes(host.name) === true
  const parts = [
    `getent group tributary >/dev/null || groupadd --system tributary
getent passwd tributary >/dev/null ||
  useradd --system --gid tributary --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin tributary

# Whoever copied the files may have brought his own owners and modes along.
chown root:tributary ${CONFIG_FOLDER}
chmod 0750 ${CONFIG_FOLDER}
for file in tributary.toml database.env write-token cluster-key; do
  [[ -e ${CONFIG_FOLDER}/$file ]] || continue
  chown root:tributary ${CONFIG_FOLDER}/$file
  chmod 0640 ${CONFIG_FOLDER}/$file
done
for file in migrate.env grants.sql; do
  [[ -e ${CONFIG_FOLDER}/$file ]] || continue
  chown root:root ${CONFIG_FOLDER}/$file
  chmod 0600 ${CONFIG_FOLDER}/$file
done
`
  ]
  if (host.roles.includes('gateway') && servesHttps(description)) parts.push(certificatePart(description))
  if (bricks.length > 0) parts.push(`${description.rootDisk ? '' : OWN_DISK}mkdir -p ${bricks.join(' ')}\n`)
  if (mounts.length > 0) {
    parts.push(`# Root's: beneath a mount point that is not mounted nobody of ours can write.
for mount in ${mounts.join(' ')}; do
  if grep -q " $mount fuse.glusterfs " /proc/self/mounts; then continue; fi
  mkdir -p "$mount"
  chown root:root "$mount"
  chmod 0755 "$mount"
done
`)
  }
  if (servesRedis || isSentinel) parts.push('chown redis:redis /etc/redis\nchmod 0770 /etc/redis\n')
  if (servesRedis)
    parts.push(
      '# Sentinel has it rewritten.\nchown redis:redis /etc/redis/redis.conf\nchmod 0640 /etc/redis/redis.conf\n'
    )
  if (isSentinel) {
    parts.push(`# What a sentinel has learnt stays, unless what it was told at first has changed.
rendered=/etc/redis/sentinel.tributary.conf
begun=/var/lib/redis/sentinel.begun.conf
chown root:redis "$rendered"
chmod 0640 "$rendered"
if [[ ! -e /var/lib/redis/sentinel.conf ]] || ! cmp --silent "$rendered" "$begun"; then
  install -o redis -g redis -m 0640 "$rendered" /var/lib/redis/sentinel.conf
  install -o root -g redis -m 0640 "$rendered" "$begun"
fi
`)
  }
  const units = hostUnits(description, host)
  parts.push(`if [[ -d /run/systemd/system ]]; then
  systemctl daemon-reload
  systemctl enable --quiet ${units.join(' ')}
fi
`)
  return `#!/bin/bash
# Users, folders and permissions of ${host.name}; run it after each time its files were put in place.
set -euo pipefail
${parts.join('\n')}`
}

/** Only what is in our own folder is given an owner: elsewhere it may be somebody else's as well. */
function certificatePart({ gateway: { certificate, privateKey } }: Description): string {
  const isOurs = privateKey.startsWith(`${CONFIG_FOLDER}/`)
  const own = `if [[ -e ${privateKey} ]]; then
  chown root:tributary ${privateKey}
  chmod 0640 ${privateKey}
fi
`
  return `# The certificate and its key are the operator's to bring and to renew.
${isOurs ? own : ''}for file in ${certificate} ${privateKey}; do
  if [[ ! -e $file ]]; then
    echo "$file is missing: put it there before tributary-gateway is started (README.md, HTTPS)" >&2
  elif ! runuser -u tributary -- test -r "$file"; then
    echo "the user tributary cannot read $file: tributary-gateway would not start (README.md, HTTPS)" >&2
  fi
done
`
}

function storeStep({ name: group, region }: Group): string {
  return `#!/bin/bash
# Makes the volume of ${group} its store. One that is there stays as it is.
set -euo pipefail
mounted=
for try in {1..60}; do
  if grep -q ' ${mountOf(group)} fuse.glusterfs ' /proc/self/mounts; then
    mounted=yes
    break
  fi
  sleep 1
done
[[ -n "$mounted" ]] || { echo '${mountOf(group)} is not mounted' >&2; exit 1; }
# The first time, for a moment a new volume has no majority yet.
for try in {1..30}; do
  if install -d -o tributary -g tributary -m 0750 ${storeOf(group)}; then break; fi
  sleep 1
done
set -a
. ${CONFIG_FOLDER}/database.env
set +a
cd /
runuser -u tributary -- tributary storage init ${storeOf(group)} --group ${group} --mount fuse.glusterfs
${region === '' ? '' : `runuser -u tributary -- tributary group set-region ${group} ${region}\n`}`
}
