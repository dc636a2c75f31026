/** README.md of a rendering: what to do with it, in order. */
import { addressHosts, hostsWith, PORTS, servesHttps, type Description } from './description.ts'
import { poolOf } from './gluster-volume.ts'
import type { Plan, PlanStep } from './plan.ts'

export function operatorReadme(description: Description, plan: Plan): string {
  const { redis } = description
  const hosts = plan.hosts.map(
    ({ name, address, roles, units }) => `| ${name} | ${address} | ${roles.join(', ')} | ${units.join(' ')} |`
  )
  const addresses = description.virtualAddresses.map(virtual => {
    const names = addressHosts(description, virtual).map(({ name }) => name)
    const { port } = plan.virtualAddresses.find(({ name }) => name === virtual.name)!
    return `| ${virtual.name} | ${virtual.address}:${port} | ${names.join(', ')} |`
  })
  const packages = [
    'curl',
    'procps',
    ...(poolOf(description).length > 0 ? ['glusterfs-server', 'glusterfs-client'] : []),
    ...(needsDisks(description) ? ['xfsprogs'] : []),
    ...(hostsWith(description, 'database').length > 0 ? ['mariadb-server', 'galera-4', 'rsync'] : []),
    ...(description.virtualAddresses.length > 0 ? ['keepalived'] : []),
    ...(redis ? ['redis-server', 'redis-sentinel'] : [])
  ]
  const units = new Set(plan.hosts.flatMap(host => host.units))
  const started = ['mariadb', 'redis-server', 'redis-sentinel', 'keepalived'].filter(name =>
    units.has(`${name}.service`)
  )
  return `# Cluster ${plan.cluster}

Made by \`tributary deploy render\`. Change the description and render again, not these files. They hold passwords: keep
this folder, and the secrets file beside the description, to yourself.

| host | address | what it does | units, in the order of their start |
| --- | --- | --- | --- |
${hosts.join('\n')}

${addresses.length === 0 ? '' : `| virtual address of | | on whichever of |\n| --- | --- | --- |\n${addresses.join('\n')}\n\n`}## Files of a host

Install on each host what it needs of: ${packages.join(', ')}; and \`tributary\` itself, as /usr/bin/tributary.${
    poolOf(description).length > 0
      ? description.rootDisk
        ? ' Bricks lie in /srv/bricks, which may be on the disk of the system.'
        : ' Bricks lie in /srv/bricks, on a disk of its own.'
      : ''
  }
${
  started.length > 0
    ? `Debian starts servers when they are installed. Before the first start, stop what it started: \`systemctl stop ${started.join(' ')}\` on each host that has it; a
database that already runs would not become the first of a cluster.\n`
    : ''
}${needsDisks(description) ? diskText(description) : ''}
From this folder, for each host (here \`HOST\`, reached by ssh as root; nothing of its own folders is changed):

\`\`\`sh
tar -C hosts/HOST -cf - . | ssh root@HOST tar -C / --no-overwrite-dir --no-same-owner -xpf -
ssh root@HOST bash -s < steps/05-prepare.HOST.sh
\`\`\`

Both may be done again at any time. They restart nothing.
${servesHttps(description) ? httpsPart(description) : ''}
## First start

One after the other; the scripts are run as root on the host of their name (\`ssh root@HOST bash -s < steps/…\`), and may be
run again.

${plan.firstStart.map((step, at) => `${at + 1}. ${stepText(step)}`).join('\n')}

A host that comes back later starts its units by itself. After a loss of **all** database nodes at once, the one that
stopped last must be bootstrapped: \`/var/lib/mysql/grastate.dat\` says \`safe_to_bootstrap: 1\` there. If none says so, run
\`galera_recovery\` on each, take the one with the highest number, set it there, run \`galera_new_cluster\`, and start the others.

## After a change of the description

Render into this same folder. It says which files of which hosts changed, and writes into \`changes/\` what is to be run: scripts with
a number and the host of their name, which may be run again.

1. A host that is new, or takes the place of a lost one, has a name and an address of its own. Make it ready: packages,
   \`tributary\`, the disk for bricks, nothing started by Debian (above).
2. Put the files of every host in place, and run its \`steps/05-prepare\` (above). Nothing reads them yet.
3. Run the scripts of \`changes/\` in the order of their numbers, each as root on the host of its name
   (\`ssh root@HOST bash -s < changes/…\`), the next when the one before has ended well:

   | script | does |
   | --- | --- |
   | \`stop.HOST\` | stops what the host no longer does |
   | \`glusterd.HOST\` | starts GlusterFS where a brick is to come |
   | \`GROUP.HOST\` | takes new hosts into the pool; replaces, adds, removes bricks; starts the heal; lets lost hosts out of the pool |
   | \`start.HOST\` | starts what is new on the host, and waits until it is ready; a database node copies everything first |
   | \`restart.HOST\` | restarts what has read files that changed, and waits until it is ready: one host after the other |
   | \`address.HOST\` | starts Keepalived where a virtual address may come to for the first time |

4. Wait until \`gluster volume heal GROUP info summary\` shows 0 entries for every brick (GlusterFS looks once a minute;
   \`gluster volume heal GROUP\` has it look now) before you change anything else. Then delete the scripts: they stay until you do.

A host that is gone from the description must not come back as it was: empty its disks, or keep it off the network. On one that only
left its group, \`mv /srv/bricks/GROUP/brick\` out of the way before it ever joins that group again.
`
}

const needsDisks = (description: Description): boolean =>
  poolOf(description).length > 0 && !description.rootDisk

/** Before the first script of a host: folders that it makes beneath a mount point would be hidden by the mount. */
function diskText(description: Description): string {
  const hosts = poolOf(description).map(({ name }) => name)
  return `
**The disk of the bricks,** once on each of ${hosts.join(', ')}, before all else. \`lsblk -f\` shows which one is empty; here it is
\`/dev/DISK\`, and **what is on it is lost**. XFS or ext4 (\`mkfs.ext4 -m 0\`), by its UUID, as names of disks change:

\`\`\`sh
mkfs.xfs /dev/DISK                 # refuses a disk that has a file system
mkdir -p /srv/bricks
echo "UUID=$(blkid -s UUID -o value /dev/DISK) /srv/bricks xfs defaults,noatime 0 0" >> /etc/fstab
systemctl daemon-reload
mount /srv/bricks
findmnt /srv/bricks                # must show the disk, and not nothing
\`\`\`

Without it the volumes are not made: gluster refuses bricks on the system's own disk.
`
}

function httpsPart(description: Description): string {
  const { certificate, privateKey } = description.gateway
  const names = hostsWith(description, 'gateway').map(({ name }) => name)
  return `
## HTTPS

The gateways (${names.join(', ')}) show a certificate that is not in this folder: a copy of it here would take the place of a renewed one
whenever the files are put in place. On each of these hosts, once \`05-prepare\` has made the user, and again at each renewal:

\`\`\`sh
install -D -o root -g tributary -m 0644 fullchain.pem ${certificate}
install -D -o root -g tributary -m 0640 privkey.pem ${privateKey}
systemctl reload-or-restart tributary-gateway   # not before the first start
\`\`\`

\`fullchain.pem\` is the certificate of the server and, after it, those of its authorities; it must be for the name that people type. Without
these files, or with some that do not fit together, the gateway ends with exit code 2 and is not started again: \`journalctl -u tributary-gateway\` says
why. A running one goes on with what it had. Health and metrics are on port ${PORTS.gatewayAdmin}, without TLS. See OPERATIONS, "HTTPS at the gateways".
`
}

function stepText(step: PlanStep): string {
  if ('run' in step) return `run \`${step.run}\` on ${step.host}`
  if ('bootstrap' in step) return `start the first database node: \`galera_new_cluster\` on ${step.host}`
  return `\`systemctl start ${step.start}\` on ${step.hosts.join(', ')}`
}
