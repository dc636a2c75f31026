// From a fresh clone to something that runs: Node 24 and the dependencies, each fetched from npm only if missing.
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { runQuietly } from './child.mjs'
import { withInstallLock } from './install-lock.mjs'
import { withProgress } from './progress.mjs'
import { CACHE_DIR, NODE_MAJOR_MIN, NODE_VERSION, ROOT, SetupError } from './repository.mjs'

/**
 * @typedef {object} Ground
 * @property {string} node  Node 24 or later
 * @property {NodeJS.ProcessEnv} env  our environment, in which `node` is that Node and the workspace's programs are found
 */

/**
 * Makes sure of Node 24 and of the dependencies. Quick, and without the network, when both are there.
 *
 * @returns {Promise<Ground>}
 * @throws {SetupError} with the one sentence to show
 */
export async function bootstrap() {
  const node = await provideNode()
  await provideDependencies(node)
  return { node, env: environmentFor(node) }
}

function environmentFor(node) {
  const path = [dirname(node), join(ROOT, 'node_modules', '.bin'), process.env.PATH ?? '/usr/bin:/bin']
  // Node keeps what it made of our sources: later processes start faster and need less memory.
  const compileCache = process.env.NODE_COMPILE_CACHE ?? join(ROOT, '.cache', 'compile')
  return { ...process.env, PATH: path.join(delimiter), NODE_COMPILE_CACHE: compileCache }
}

async function provideNode() {
  if (majorOf(process.versions.node) >= NODE_MAJOR_MIN) return process.execPath
  return join(await provideFetchedNode(), 'bin', 'node')
}

/**
 * The Node that every machine runs alike, whichever this process runs under; fetched from npm if it is missing.
 *
 * @param {string} arch  `x64` or `arm64`
 * @returns {Promise<string>} its folder, with bin/node and LICENSE
 * @throws {SetupError} with the one sentence to show
 */
export async function provideFetchedNode(arch = process.arch) {
  const name = fetchableNode(arch)
  const home = join(ROOT, '.node', `${name}-${NODE_VERSION}`)
  const folder = join(home, 'node_modules', name)
  const isThere = () => existsSync(join(folder, 'bin', 'node'))
  if (isThere()) return folder
  await withInstallLock(async () => {
    if (isThere()) return // the start we waited for has brought it
    await withProgress(`Installing Node ${NODE_VERSION} for ${arch}`, () => fetchNode(name, arch, home))
  })
  return folder
}

function fetchableNode(arch) {
  if (process.platform === 'linux' && (arch === 'x64' || arch === 'arm64')) return `node-linux-${arch}`
  throw new SetupError(
    `Tributary needs Node ${NODE_MAJOR_MIN} or later; this is Node ${process.versions.node} on ${process.platform} ` +
      `${arch}, where it cannot fetch one by itself. Please install Node ${NODE_MAJOR_MIN} and start again.`
  )
}

/** Installs beside its final place and renames: what stands at `home` is always whole. */
async function fetchNode(name, arch, home) {
  const making = `${home}.${process.pid}.new`
  await rm(making, { recursive: true, force: true })
  await mkdir(making, { recursive: true })
  await writeFile(join(making, 'package.json'), '{ "private": true }\n')
  const args = ['install', '--prefix', making, '--no-save', '--no-package-lock', '--ignore-scripts']
  // What it brings is named; npm refuses what is not for this machine, whatever it is told of another.
  if (arch !== process.arch) args.push('--force')
  const { exitCode, output } = await runNpm(
    process.execPath,
    [...args, `${name}@${NODE_VERSION}`],
    making,
    process.env
  )
  if (exitCode !== 0) {
    await rm(making, { recursive: true, force: true })
    throw installFailed(`Node ${NODE_VERSION}`, output)
  }
  await rm(home, { recursive: true, force: true })
  await rename(making, home)
  if (arch !== process.arch) return // npm checked what it brought; it cannot be tried here
  const check = await runQuietly(join(home, 'node_modules', name, 'bin', 'node'), ['--version'])
  if (check.output.trim() !== `v${NODE_VERSION}`) {
    await rm(home, { recursive: true, force: true })
    throw new SetupError(
      `The Node ${NODE_VERSION} from npm does not run on this system (it needs glibc 2.28 or later); please install Node ${NODE_MAJOR_MIN} and start again.`
    )
  }
}

async function provideDependencies(node) {
  if (!missingDependency()) return
  await withInstallLock(async () => {
    if (!missingDependency()) return
    const title = existsSync(join(ROOT, 'node_modules'))
      ? 'The dependencies changed: installing them'
      : 'First start: installing the dependencies'
    await withProgress(title, async () => {
      // Not `npm ci`: it refuses a lockfile that leaves out optional packages of other systems, and ours has to, because
      // not every registry serves all of them. What is in the lockfile is installed exactly as it says, or this fails.
      // Development tools too, whatever NODE_ENV says: one kind of installation, the one that is tested.
      const args = ['install', '--no-save', '--include=dev', '--ignore-scripts', '--prefer-offline']
      const { exitCode, output } = await runNpm(node, args, ROOT, environmentFor(node))
      if (exitCode !== 0) throw installFailed('the dependencies', output)
      const wrong = missingDependency()
      if (wrong !== undefined) {
        throw new SetupError(
          `package-lock.json and what npm installed differ at ${wrong}; run npm install under Node 24 and commit the lockfile.`
        )
      }
    })
  })
}

/**
 * Compares what npm says it installed (its hidden lockfile, written last) with what package-lock.json asks for.
 *
 * @returns {string | undefined} the first package that is not as it should be; undefined if all are
 */
export function missingDependency(root = ROOT) {
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  let installed
  try {
    installed = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages
  } catch {
    return 'node_modules'
  }
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.includes('node_modules/')) continue // the workspace's own packages
    const found = installed[path]
    if (entry.link) {
      if (!existsSync(join(root, path, 'package.json'))) return path
    } else if (!found) {
      if (!entry.optional) return path // optional ones are for other systems
    } else if (found.version !== entry.version || found.integrity !== entry.integrity) {
      return path
    }
  }
  return undefined
}

function runNpm(node, args, cwd, env) {
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error', '--no-update-notifier']
  const cache = npmCacheArgs()
  const npm = process.env.npm_execpath
  const ours = npm && /npm-cli\.c?js$/.test(npm) && existsSync(npm)
  const [program, ...before] = ours ? [node, npm] : ['npm']
  return runQuietly(program, [...before, ...args, ...quiet, ...cache], { cwd, env }).catch(error => {
    if (error.code === 'ENOENT') throw new SetupError('npm was not found; please install it and start again.')
    throw error
  })
}

/** npm fails where it cannot write its cache (read-only home, another user's files): then it gets one of ours. */
function npmCacheArgs() {
  const cache = process.env.npm_config_cache ?? join(homedir(), '.npm')
  for (const dir of [cache, join(cache, '_cacache'), join(cache, '_cacache', 'tmp')]) {
    try {
      mkdirSync(dir, { recursive: true })
      accessSync(dir, constants.W_OK)
      rmSync(mkdtempSync(join(dir, 'probe-')), { recursive: true })
    } catch {
      return ['--cache', join(CACHE_DIR, 'npm')]
    }
  }
  return []
}

function installFailed(what, output) {
  const lines = output
    .split('\n')
    .map(line => line.replace(/^npm (error|ERR!) ?/, '').trim())
    .filter(line => line !== '' && !/^(A complete log|npm warn)/.test(line))
  const reason = lines.slice(0, 3).join('; ').slice(0, 400)
  return new SetupError(
    `Installing ${what} failed (${reason || 'npm said nothing'}); is the npm registry reachable, and the disk not full?`
  )
}

function majorOf(version) {
  return Number(version.split('.')[0])
}
