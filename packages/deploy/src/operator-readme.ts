/** README.md of a rendering: what to do with it, in order. */
import { addressHosts, hostsWith, type Description } from './description.ts'
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
        : ' Bricks lie in /srv/bricks: mount a disk of its own there, or the volumes are not made.'
      : ''
  }
${
  started.length > 0
    ? `Debian starts servers when they are installed. Before the first start, stop what it started: \`systemctl stop ${started.join(' ')}\` on each host that has it; a
database that already runs would not become the first of a cluster.\n`
    : ''
}
From this folder, for each host (here \`HOST\`, reached by ssh as root; nothing of its own folders is changed):

\`\`\`sh
tar -C hosts/HOST -cf - . | ssh root@HOST tar -C / --no-overwrite-dir --no-same-owner -xpf -
ssh root@HOST bash -s < steps/05-prepare.HOST.sh
\`\`\`

Both may be done again at any time. They restart nothing.

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

function stepText(step: PlanStep): string {
  if ('run' in step) return `run \`${step.run}\` on ${step.host}`
  if ('bootstrap' in step) return `start the first database node: \`galera_new_cluster\` on ${step.host}`
  return `\`systemctl start ${step.start}\` on ${step.hosts.join(', ')}`
}
