// Where things are, and which Node runs them. Everything in scripts/ is plain JavaScript for Node 20,
// because it runs before anything is installed.
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
export const CACHE_DIR = join(ROOT, '.cache')

/** Sources run unbuilt from this major on: type stripping, node:sqlite. */
export const NODE_MAJOR_MIN = 24
/** What is fetched where the Node at hand is older. Exact, so that every machine runs the same one. */
export const NODE_VERSION = '24.21.0'

/** Makes packages resolve to the `src/*.ts` of each other; see `exports` in their package.json. */
export const SOURCE_CONDITION = '--conditions=tributary-source'

/** Failures a person can act on: one sentence, no stack. */
export class SetupError extends Error {}
