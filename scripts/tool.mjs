// Tools of the workspace are run by path: npx would start npm first, and look on the network for what is missing.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT, SetupError } from './repository.mjs'

/**
 * @param {string} name  a package in node_modules, or `tsc`
 * @returns {string} path of its program, for Node to run
 * @throws {SetupError} it is not installed, or has no program
 */
export function programOf(name) {
  const manifestPath = join(ROOT, 'node_modules', name === 'tsc' ? 'typescript' : name, 'package.json')
  let bin
  try {
    bin = JSON.parse(readFileSync(manifestPath, 'utf8')).bin
  } catch (cause) {
    throw new SetupError(`${name} is not installed`, { cause })
  }
  const program = typeof bin === 'string' ? bin : bin?.[name]
  if (program === undefined) throw new SetupError(`${name} has no program of that name`)
  return join(dirname(manifestPath), program)
}
