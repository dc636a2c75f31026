// The console as browsers get it: made by Vite into packages/gateway/public, and only again when what it is made of has changed.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { runQuietly } from './child.mjs'
import { withInstallLock } from './install-lock.mjs'
import { withProgress } from './progress.mjs'
import { ROOT, SOURCE_CONDITION, SetupError } from './repository.mjs'
import { programOf } from './tool.mjs'

const CONSOLE_DIR = join(ROOT, 'packages', 'console')
const OUTPUT_DIR = join(ROOT, 'packages', 'gateway', 'public')
/** Says what the output was made of; written last. */
const STAMP = join(OUTPUT_DIR, 'made-of.txt')
/** Where compressed bytes would not be fewer packets, the file goes as it is. */
const COMPRESSED_BYTES_MIN = 1_400

/**
 * Makes sure of the built console. Quick when it is there: sources are read, and nothing is run.
 *
 * @param {import('./bootstrap.mjs').Ground} ground
 * @throws {SetupError} with the build's own words
 */
export async function provideConsole({ node, env }) {
  if (isCurrent()) return
  await withInstallLock(async () => {
    if (isCurrent()) return // whom we waited for has built it
    await withProgress('Building the console', () => build(node, env))
  })
}

async function build(node, env) {
  rmSync(STAMP, { force: true })
  const sources = fingerprint()
  const args = [SOURCE_CONDITION, programOf('vite'), 'build', '--logLevel', 'warn']
  const { exitCode, output } = await runQuietly(node, args, { cwd: CONSOLE_DIR, env })
  if (exitCode !== 0) throw new SetupError(`The console could not be built:\n${output.trim()}`)
  compress()
  writeFileSync(STAMP, `${sources}\n`)
}

/** Beside each text its compressed forms, made once as well as can be. */
function compress() {
  const folder = join(OUTPUT_DIR, 'assets')
  for (const name of readdirSync(folder)) {
    if (!/\.(js|css|svg)$/.test(name)) continue
    const bytes = readFileSync(join(folder, name))
    if (bytes.byteLength < COMPRESSED_BYTES_MIN) continue
    writeFileSync(join(folder, `${name}.gz`), gzipSync(bytes, { level: 9 }))
    const params = {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.byteLength
    }
    writeFileSync(join(folder, `${name}.br`), brotliCompressSync(bytes, { params }))
  }
}

function isCurrent() {
  return (
    existsSync(join(OUTPUT_DIR, 'index.html')) &&
    existsSync(STAMP) &&
    readFileSync(STAMP, 'utf8').trim() === fingerprint()
  )
}

/** Of the console's sources, of the contract whose values it may use, and of the versions of everything. */
function fingerprint() {
  const hash = createHash('sha256')
  const files = [
    join(ROOT, 'package-lock.json'),
    join(ROOT, 'scripts', 'console-build.mjs'),
    ...['package.json', 'tsconfig.json', 'index.html', 'vite.config.ts', 'style-hashes.ts'].map(name =>
      join(CONSOLE_DIR, name)
    ),
    ...['src', 'static'].flatMap(name => filesBelow(join(CONSOLE_DIR, name)))
  ]
  for (const path of files)
    hash
      .update(`${relative(ROOT, path)}\0`)
      .update(readFileSync(path))
      .update('\0')
  return hash.digest('hex')
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
}
