// npm run package [-- --arch amd64|arm64] [-- --out FOLDER]: a Debian package with Node and all dependencies inside.
//
// What is in it: /usr/lib/tributary (Node, our packages compiled, what they depend on), /usr/bin/tributary, units for
// systemd, an example of /etc/tributary/tributary.toml. What it does when it is installed: packaging/postinst.
//
// Two builds of one commit are the same, byte by byte: every time is SOURCE_DATE_EPOCH, else that of the commit.
import { hash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { chmod, copyFile, lutimes, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { bootstrap, provideFetchedNode } from './bootstrap.mjs'
import { runQuietly } from './child.mjs'
import { provideConsole } from './console-build.mjs'
import { withProgress } from './progress.mjs'
import { productionPackages } from './production-packages.mjs'
import { ROOT, SetupError } from './repository.mjs'
import { programOf } from './tool.mjs'

const PACKAGING = join(ROOT, 'packaging')
/** Debian's name of an architecture → Node's. */
const ARCHITECTURES = { amd64: 'x64', arm64: 'arm64' }
const ROLES = {
  tracker: 'tracker',
  id: 'ID server',
  storage: 'storage server',
  gateway: 'HTTP server',
  worker: 'worker'
}
/** What Node from npm is linked with; see `ldd node`. */
const DEPENDS = ['libc6 (>= 2.28)', 'libgcc-s1', 'libstdc++6 (>= 5.2)', 'adduser', 'init-system-helpers']
/** Level 6 takes four times as long for a seventh less. */
const XZ_LEVEL = 1
/** Of dependencies: what a running program never reads. */
const NOT_AT_RUN_TIME = /(?:\.[cm]?ts|\.map|\.tsbuildinfo|(?<!licen[cs]e|copying|notice)\.(?:md|markdown))$/i
const NOT_AT_RUN_TIME_FOLDERS =
  /^(?:test|tests|__tests__|benchmark|benchmarks|example|examples|docs|coverage|\.github)$/

try {
  await main()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

async function main() {
  const { values } = parseArgs({ options: { arch: { type: 'string' }, out: { type: 'string' } } })
  const architecture = values.arch ?? (process.arch === 'x64' ? 'amd64' : process.arch)
  const nodeArch = ARCHITECTURES[architecture]
  if (nodeArch === undefined)
    throw new SetupError(
      `--arch: ${Object.keys(ARCHITECTURES).join(' or ')} is expected, not ${architecture}`
    )
  const out = values.out ?? join(ROOT, 'dist')
  const ground = await bootstrap()
  await withProgress('Compiling', () =>
    run(ground.node, [programOf('tsc'), '-b', 'tsconfig.build.json'], { cwd: ROOT, env: ground.env })
  )
  await provideConsole(ground)
  const node = await provideFetchedNode(nodeArch)
  const staging = await mkdtemp(join(tmpdir(), 'tributary-package-'))
  try {
    const { version } = readJson(join(ROOT, 'package.json'))
    const debianVersion = version.replace('-', '~') // 1.0.0~rc.1 is before 1.0.0
    const epochS = await sourceDateEpoch()
    const tree = join(staging, 'tree')
    await lay(tree, node)
    const installedKiB = await stamp(tree, epochS)
    await control(tree, { architecture, version: debianVersion, installedKiB })
    await stamp(tree, epochS)
    const name = `tributary_${debianVersion}_${architecture}.deb`
    const made = join(staging, name)
    await withProgress(`Packing ${name}`, () => pack(tree, made, epochS))
    await mkdir(out, { recursive: true })
    const path = join(out, name)
    await copyFile(made, `${path}.new`)
    await rename(`${path}.new`, path)
    const mib = bytes => `${(bytes / 1024 ** 2).toFixed(1)} MiB`
    console.log(`${path}: ${mib(statSync(path).size)}, installed ${mib(installedKiB * 1024)}`)
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

/** Everything but DEBIAN/, as it will lie on the machine. */
async function lay(tree, node) {
  const program = join(tree, 'usr', 'lib', 'tributary')
  await place(join(node, 'bin', 'node'), join(program, 'bin', 'node'), 0o755)
  await place(join(node, 'LICENSE'), join(program, 'bin', 'LICENSE'))
  const { ours, theirs } = productionPackages(ROOT)
  for (const { name, folder } of ours)
    await placeOurs(join(ROOT, folder), join(program, 'node_modules', name))
  for (const path of theirs) await placeTheirs(join(ROOT, path), join(program, path))

  await place(join(PACKAGING, 'tributary'), join(tree, 'usr', 'bin', 'tributary'), 0o755)
  const unit = readFileSync(join(PACKAGING, 'tributary.service'), 'utf8')
  for (const [role, description] of Object.entries(ROLES)) {
    const ownFolders =
      role === 'storage'
        ? unit.replace('ProtectHome=yes\n', 'ProtectHome=yes\nReadWritePaths=-/srv/tributary\n')
        : unit
    const text = ownFolders.replaceAll('ROLE', role).replace('DESCRIPTION', description)
    await write(join(tree, 'usr', 'lib', 'systemd', 'system', `tributary-${role}.service`), text)
  }
  await place(join(PACKAGING, 'tributary.toml'), join(tree, 'etc', 'tributary', 'tributary.toml'), 0o640)
  const documents = join(tree, 'usr', 'share', 'doc', 'tributary')
  await place(join(PACKAGING, 'copyright'), join(documents, 'copyright'))
  await write(
    join(documents, 'changelog.gz'),
    gzipSync(readFileSync(join(ROOT, 'CHANGELOG.md')), { level: 9 })
  )
  await place(join(ROOT, 'docs', 'OPERATIONS.md'), join(documents, 'OPERATIONS.md'))
}

/** One of the workspace: what its manifest publishes; of what was compiled only what its sources still say. */
async function placeOurs(folder, target) {
  const manifest = readJson(join(folder, 'package.json'))
  for (const published of manifest.files) {
    if (published === 'bin') continue // it finds a checkout; /usr/bin/tributary knows its place
    if (published !== 'dist') {
      await copyTree(join(folder, published), join(target, published))
      continue
    }
    for (const source of filesBelow(join(folder, 'src'))) {
      if (!source.endsWith('.ts')) {
        await place(join(folder, 'src', source), join(target, 'dist', source))
        continue
      }
      const compiled = source.replace(/\.ts$/, '.js')
      await place(join(folder, 'dist', compiled), join(target, 'dist', compiled))
    }
  }
  const { devDependencies: _, ...kept } = manifest
  await write(join(target, 'package.json'), `${JSON.stringify(kept, undefined, 2)}\n`)
}

/** A dependency, without what only its developers read. What is nested in it is listed by itself. */
async function placeTheirs(folder, target) {
  for (const name of filesBelow(folder)) {
    const [top] = name.split('/')
    if (top === 'node_modules' || NOT_AT_RUN_TIME_FOLDERS.test(top) || NOT_AT_RUN_TIME.test(name)) continue
    await place(join(folder, name), join(target, name))
  }
}

async function control(tree, { architecture, version, installedKiB }) {
  const { description } = readJson(join(ROOT, 'package.json'))
  const folder = join(tree, 'DEBIAN')
  const fields = {
    Package: 'tributary',
    Version: version,
    Architecture: architecture,
    Maintainer: 'Tributary contributors <tributary@localhost>',
    'Installed-Size': installedKiB,
    Depends: DEPENDS.join(', '),
    Recommends: 'ffmpeg',
    Suggests: 'mariadb-server, redis-server, glusterfs-server, glusterfs-client, keepalived',
    Section: 'net',
    Priority: 'optional',
    Description: `${description}\n Trackers, ID servers, storage servers, HTTP gateway, worker and the\n command tributary. Node.js is inside; nothing is fetched when it is installed.`
  }
  const text = Object.entries(fields).map(([key, value]) => `${key}: ${value}\n`)
  const sums = filesBelow(tree).map(name => `${md5(join(tree, name))}  ${name}\n`)
  await write(join(folder, 'control'), text.join(''))
  await write(join(folder, 'conffiles'), '/etc/tributary/tributary.toml\n')
  await write(join(folder, 'md5sums'), sums.filter(line => !line.includes('  etc/')).join(''))
  for (const script of ['postinst', 'prerm', 'postrm'])
    await place(join(PACKAGING, script), join(folder, script), 0o755)
}

async function pack(tree, target, epochS) {
  // One thread: how many there are shows in the result.
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(epochS), DPKG_DEB_THREADS_MAX: '1' }
  const args = ['--root-owner-group', '-Zxz', `-z${XZ_LEVEL}`, '--build', tree, target]
  await run('dpkg-deb', args, { env }).catch(error => {
    if (error.code !== 'ENOENT') throw error
    throw new SetupError(
      'dpkg-deb was not found: packages are made on Debian, or where its package dpkg is there'
    )
  })
}

/** Gives everything its time. @returns {Promise<number>} size in KiB, as Debian counts it */
async function stamp(tree, epochS) {
  let kib = 0
  const names = readdirSync(tree, { recursive: true, withFileTypes: true })
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await chmod(path, 0o755)
    kib += entry.isFile() ? Math.ceil(statSync(path).size / 1024) : 1
    await lutimes(path, epochS, epochS)
  }
  await chmod(tree, 0o755)
  await lutimes(tree, epochS, epochS)
  return kib
}

async function sourceDateEpoch() {
  if (/^\d+$/.test(process.env.SOURCE_DATE_EPOCH ?? '')) return Number(process.env.SOURCE_DATE_EPOCH)
  const { exitCode, output } = await runQuietly('git', ['log', '-1', '--format=%ct'], { cwd: ROOT }).catch(
    () => ({
      exitCode: 1,
      output: ''
    })
  )
  if (exitCode === 0 && /^\d+\s*$/.test(output)) return Number(output)
  throw new SetupError(
    'The time of the build is not known here: this is no git clone. Set SOURCE_DATE_EPOCH.'
  )
}

async function run(program, args, options) {
  const { exitCode, output } = await runQuietly(program, args, options)
  if (exitCode !== 0) throw new SetupError(`${program} failed:\n${output.trim()}`)
}

/** Modes are ours, whatever the umask of whoever builds. */
async function place(source, target, mode = 0o644) {
  if (!existsSync(source)) throw new SetupError(`${relative(ROOT, source)} is missing`)
  await mkdir(dirname(target), { recursive: true })
  await copyFile(source, target)
  await chmod(target, mode)
}

async function write(target, content) {
  await mkdir(dirname(target), { recursive: true })
  await writeFile(target, content)
  await chmod(target, 0o644)
}

async function copyTree(source, target) {
  for (const name of filesBelow(source)) await place(join(source, name), join(target, name))
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

function md5(path) {
  return hash('md5', readFileSync(path))
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}
