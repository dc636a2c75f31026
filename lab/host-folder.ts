/** What a host's disk holds before its first start: a fresh machine's /etc and /var, as packages of the distribution leave them. */
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Plan } from './plan.ts'

const execute = promisify(execFile)
/** Folder beneath /var, owner and mode, as the packages make them. */
const FOLDERS: readonly [path: string, owner: string, mode: string][] = [
  ['lib', 'root:root', '755'],
  ['lib/misc', 'root:root', '755'],
  ['lib/glusterd', 'root:root', '755'],
  ['lib/redis', 'redis:redis', '750'],
  ['log', 'root:root', '755'],
  ['log/glusterfs', 'root:root', '755'],
  ['log/mysql', 'mysql:adm', '2750'],
  ['log/redis', 'redis:adm', '2750'],
  ['cache', 'root:root', '755'],
  ['spool', 'root:root', '755'],
  ['tmp', 'root:root', '1777']
]

/** @param folder gets `etc`, `var` and `srv` */
export async function makeHostFolder(folder: string, name: string, plan: Plan): Promise<void> {
  await mkdir(folder, { recursive: true })
  await execute('cp', ['-a', '/etc', folder])
  const etc = join(folder, 'etc')
  await writeFile(join(etc, 'hostname'), `${name}\n`)
  const hosts = plan.hosts.map(host => `${host.address} ${host.name}`)
  await writeFile(join(etc, 'hosts'), ['127.0.0.1 localhost', '::1 localhost', ...hosts, ''].join('\n'))
  await mkdir(join(folder, 'srv'))
  const at = join(folder, 'var')
  for (const [path, owner, mode] of FOLDERS) {
    await mkdir(join(at, path), { recursive: true })
    await execute('chown', [owner, join(at, path)]).catch(() => {}) // a package that is not installed, and so not used
    await execute('chmod', [mode, join(at, path)])
  }
  for (const part of ['hooks', 'groups']) {
    const packaged = join('/var/lib/glusterd', part)
    if (existsSync(packaged)) await cp(packaged, join(at, 'lib/glusterd', part), { recursive: true })
  }
  await symlink('/run', join(at, 'run'))
  await symlink('/run/lock', join(at, 'lock'))
  if (plan.hosts.find(host => host.name === name)!.roles.includes('database'))
    await execute('cp', ['-a', '--reflink=auto', await systemTables(), join(at, 'lib/mysql')])
}

/** What Debian's package makes when it is installed, made once per version; root enters by its socket. */
async function systemTables(): Promise<string> {
  const cache = join(dirname(new URL(import.meta.url).pathname), '..', '.cache')
  const { stdout } = await execute('/usr/sbin/mariadbd', ['--version'])
  const cached = join(cache, `mariadb-packaged-${/Ver (\S+)/.exec(stdout)?.[1] ?? 'unknown'}`)
  if (await stat(cached).catch(() => undefined)) return cached
  await mkdir(cache, { recursive: true })
  const fresh = await mkdtemp(join(cache, 'mariadb-fresh-'))
  try {
    await execute('mariadb-install-db', [
      '--no-defaults',
      '--user=root',
      `--datadir=${fresh}`,
      '--auth-root-authentication-method=socket',
      '--skip-test-db'
    ])
    await execute('chown', ['-R', 'mysql:mysql', fresh])
    await rename(fresh, cached)
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    if (!(await stat(cached).catch(() => undefined))) throw error // else another lab was faster
  }
  return cached
}
