/** The database: MariaDB on an odd number of hosts, every one with everything, by Galera. */
import { databaseUrls } from './cluster-addresses.ts'
import { hostsWith, PORTS, type Description, type Host } from './description.ts'
import { netmaskOf, parseNetworkText } from './network.ts'
import { hostFile, SECRET, type RenderedFile } from './rendered-file.ts'
import type { Secrets } from './secrets.ts'

/** A server process opens at most 6, a node that is alone serves all of them; a few are for people. */
const CONNECTIONS_MIN = 200
const CONNECTIONS_PER_PROCESS = 6

/**
 * A node that says nothing is suspected after 2 s and out after 4: writes stand still for so long, and no longer than a
 * client's patience. Shorter ones throw out nodes that were only busy.
 */
const EVICTION = [
  'evs.keepalive_period=PT0.5S',
  'evs.inactive_check_period=PT0.5S',
  'evs.suspect_timeout=PT2S',
  'evs.inactive_timeout=PT4S',
  'evs.install_timeout=PT4S'
]

export function galeraFiles(description: Description, host: Host, secrets: Secrets): RenderedFile[] {
  const nodes = hostsWith(description, 'database')
  const files: RenderedFile[] = []
  if (nodes.includes(host)) {
    files.push(
      hostFile(host.name, '/etc/mysql/mariadb.conf.d/70-tributary.cnf', configText(description, host, nodes))
    )
  }
  if (databaseStepHost(description) === host) {
    const urls = databaseUrls(description, description.database.migrateUser, secrets.migratePassword)
    files.push(
      hostFile(
        host.name,
        '/etc/tributary/migrate.env',
        `TRIBUTARY_COMMON_DATABASE='${urls.join(',')}'\n`,
        SECRET
      ),
      hostFile(host.name, '/etc/tributary/grants.sql', grantsText(description, secrets), SECRET)
    )
  }
  return files
}

/** Where the database is prepared: on its first node, or where somebody else's is reached from. */
export function databaseStepHost(description: Description): Host | undefined {
  return hostsWith(description, 'database')[0] ?? hostsWith(description, 'tracker')[0]
}

function configText(description: Description, host: Host, nodes: readonly Host[]): string {
  const { bufferPool } = description.database
  const { address } = host
  const provider = [
    `gmcast.listen_addr=tcp://${address}:${PORTS.galera}`,
    `ist.recv_addr=${address}:${PORTS.galeraIncremental}`,
    ...EVICTION,
    'gcache.size=256M',
    'pc.recovery=TRUE'
  ].join(';')
  const workers =
    description.storage.workers * description.groups.reduce((sum, { members }) => sum + members.length, 0)
  const processes = workers + hostsWith(description, 'tracker').length + hostsWith(description, 'id').length
  return `# Made by 'tributary deploy render'.
[mariadbd]
bind_address = ${address}
port = ${PORTS.database}
skip_name_resolve = ON
character_set_server = utf8mb4
max_connections = ${Math.max(CONNECTIONS_MIN, processes * CONNECTIONS_PER_PROCESS + 50)}
innodb_buffer_pool_size = ${bufferPool}

# What was acknowledged is on disk.
innodb_flush_log_at_trx_commit = 1
sync_binlog = 1

# What Galera demands.
default_storage_engine = InnoDB
binlog_format = ROW
innodb_autoinc_lock_mode = 2

wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = ${description.name}
wsrep_cluster_address = gcomm://${nodes.map(node => `${node.address}:${PORTS.galera}`).join(',')}
wsrep_node_name = ${host.name}
wsrep_node_address = ${address}
wsrep_node_incoming_address = ${address}:${PORTS.database}
wsrep_sst_method = rsync
wsrep_sst_receive_address = ${address}:${PORTS.galeraTransfer}
wsrep_provider_options = "${provider}"
`
}

/** Passwords need no quoting: see secrets.ts. */
function grantsText(description: Description, { databasePassword, migratePassword }: Secrets): string {
  const { name, user, migrateUser } = description.database
  const lines = [`CREATE DATABASE IF NOT EXISTS ${name} CHARACTER SET utf8mb4;`]
  for (const network of description.networks.map(parseNetworkText)) {
    if (network === undefined) continue
    const from = `${network.text.split('/')[0]}/${netmaskOf(network)}`
    for (const [account, password, rights] of [
      [user, databasePassword, 'SELECT, INSERT, UPDATE, DELETE'],
      [migrateUser, migratePassword, 'SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX']
    ] as const) {
      lines.push(
        `CREATE USER IF NOT EXISTS '${account}'@'${from}' IDENTIFIED BY '${password}';`,
        `ALTER USER '${account}'@'${from}' IDENTIFIED BY '${password}';`,
        `GRANT ${rights} ON ${name}.* TO '${account}'@'${from}';`
      )
    }
  }
  return `-- Made by 'tributary deploy render'. May be run again.\n${lines.join('\n')}\n`
}

export function databaseStep(description: Description): string {
  const isOwn = description.database.external.length === 0
  const grants = `ready=
for try in {1..120}; do
  if mariadb --batch --skip-column-names -e "SHOW STATUS LIKE 'wsrep_ready'" 2>/dev/null | grep ON >/dev/null; then
    ready=yes
    break
  fi
  sleep 1
done
[[ -n "$ready" ]] || { echo 'the database is not ready' >&2; exit 1; }
mariadb < /etc/tributary/grants.sql
`
  const external =
    "# The database is somebody else's: its owner runs /etc/tributary/grants.sql, or the like of it.\n"
  return `#!/bin/bash
# Users, schema and applications. May be run again, also after an upgrade.
set -euo pipefail
${isOwn ? grants : external}set -a
. /etc/tributary/migrate.env
set +a
tributary db migrate
${description.applications.map(id => `tributary db add-application ${id}\n`).join('')}`
}
