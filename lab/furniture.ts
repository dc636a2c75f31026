/**
 * Gives a host what a machine of its own has: folders at their standard places, users, a name. It runs within the host's
 * namespaces, where mounts are private and go when the host goes; the machine's own folders are read-only there.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { accountOf } from './launch.ts'
import { mountDisk } from './disk.ts'
import type { HostSetup } from './order.ts'

/** Where a host sees what is the lab's and no machine would have. */
export const LAB_FOLDER = '/mnt'
/** What rendered files may contain: each of these is private to its host. */
const PRIVATE_FOLDERS = ['etc', 'var', 'srv'] as const
const TMPFS: readonly [path: string, mode: string][] = [
  ['/run', '0755'],
  ['/tmp', '1777'],
  ['/dev/shm', '1777']
]
const SOURCE = join(LAB_FOLDER, 'source')
export const RENDERED = join(LAB_FOLDER, 'rendered')
/** From the root of the source tree. */
const SYSTEMCTL = join('lab', basename(new URL('./systemctl.ts', import.meta.url).pathname))
/** Where the host's supervisor takes what scripts ask of systemctl. */
export const SYSTEMCTL_SOCKET = '/run/lab-systemctl'

/** @throws a mount failed, or a rendered file has no place here */
export function furnish({
  name,
  folder,
  rendered,
  source,
  node,
  compileCache,
  brickDisk,
  isNew
}: HostSetup): void {
  command('hostname', name)
  mount('-t', 'tmpfs', '-o', 'mode=0755', 'tmpfs', LAB_FOLDER)
  bind(source, SOURCE)
  bind(rendered, RENDERED)
  bind(compileCache, join(LAB_FOLDER, 'compile'))
  writeFileSync(join(LAB_FOLDER, 'node'), '')
  mount('--bind', node, join(LAB_FOLDER, 'node'))
  if (brickDisk !== undefined) {
    writeFileSync(join(LAB_FOLDER, 'disk'), '')
    mount('--bind', brickDisk, join(LAB_FOLDER, 'disk'))
  }
  for (const part of PRIVATE_FOLDERS) bind(join(folder, part), join(LAB_FOLDER, 'host', part))
  // an overlay, since the machine need not have what a package of ours would put there
  const [upper, work] = ['usr', 'work'].map(part => join(LAB_FOLDER, 'overlay', part))
  for (const path of [upper!, work!]) mkdirSync(path, { recursive: true })
  mount('-t', 'overlay', '-o', `lowerdir=/usr,upperdir=${upper},workdir=${work}`, 'overlay', '/usr')
  for (const part of PRIVATE_FOLDERS) mount('--bind', join(LAB_FOLDER, 'host', part), `/${part}`)
  if (brickDisk !== undefined) mountDisk(join(LAB_FOLDER, 'disk'), '/srv/bricks')
  for (const [path, mode] of TMPFS) mount('-t', 'tmpfs', '-o', `mode=${mode}`, 'tmpfs', path)
  mount('-t', 'sysfs', 'sysfs', '/sys')
  mount('-o', 'remount,bind,ro', '/')
  mount('-o', 'remount,bind,ro', SOURCE)
  writeFileSync('/usr/bin/tributary', starter('packages/cli/src/main.ts'), { mode: 0o755 })
  rmSync('/usr/bin/systemctl', { force: true }) // in the overlay: a machine may have one, and it would not find systemd here
  writeFileSync('/usr/bin/systemctl', starter(SYSTEMCTL), { mode: 0o755 })
  install(RENDERED, name, isNew ? 'all' : 'usr')
  makeTemporaryFolders()
}

/**
 * Puts the host's rendered files in place, as the operator's `rsync` does. `usr`: only what does not outlive the host, as
 * programs change files under /etc (Redis does).
 */
export function install(rendered: string, name: string, what: 'all' | 'usr'): void {
  const files = join(rendered, 'hosts', name)
  if (!existsSync(files)) return
  for (const part of readdirSync(files)) {
    if (part !== 'usr' && !(PRIVATE_FOLDERS as readonly string[]).includes(part))
      throw new Error(`/${part} of ${name} cannot be kept apart from this machine's`)
    if (part === 'usr' || what === 'all') command('rsync', '-aK', `${join(files, part)}/`, `/${part}/`)
  }
}

/** A program of the source tree, under the lab's Node. (The published command is compiled.) */
function starter(module: string): string {
  return [
    '#!/bin/sh',
    `NODE_COMPILE_CACHE=${join(LAB_FOLDER, 'compile')} exec ${join(LAB_FOLDER, 'node')} --conditions=tributary-source ${join(SOURCE, module)} "$@"`,
    ''
  ].join('\n')
}

/** Folders under /run that packages describe in tmpfiles.d, since /run is empty at every start. */
function makeTemporaryFolders(): void {
  mkdirSync('/run/lock', { recursive: true })
  for (const folder of ['/usr/lib/tmpfiles.d', '/etc/tmpfiles.d']) {
    const names = existsSync(folder) ? readdirSync(folder).filter(name => name.endsWith('.conf')) : []
    for (const line of names.flatMap(name => readFileSync(join(folder, name), 'utf8').split('\n'))) {
      const [type = '', path = '', mode = '-', user = '-', group = '-'] = line.trim().split(/\s+/)
      const target = path.replace(/^\/var\/run\//, '/run/')
      if (!/^[dD][!+-]?$/.test(type) || !target.startsWith('/run/') || target.includes('%')) continue
      mkdirSync(target, { recursive: true })
      if (mode !== '-') chmodSync(target, Number.parseInt(mode.replace(/^[~:]+/, ''), 8))
      if (user === '-' || !isKnown(user, group)) continue
      command('chown', `${user}:${group === '-' ? user : group}`, target)
    }
  }
}

function isKnown(user: string, group: string): boolean {
  try {
    return accountOf(user, group === '-' ? undefined : group).uid >= 0
  } catch {
    return false // a package that is half removed
  }
}

function bind(from: string, to: string): void {
  mkdirSync(to, { recursive: true })
  mount('--bind', from, to)
}

const mount = (...words: string[]): void => command('mount', ...words)

function command(program: string, ...words: string[]): void {
  try {
    execFileSync(program, words, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim() ?? ''
    throw new Error(`${program} ${words.join(' ')}: ${said}`, { cause: error })
  }
}
