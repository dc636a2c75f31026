#!/usr/bin/env node
// The command as npm links it. Published, it is the compiled program; in a checkout, the sources run as they are, under the
// Node that `npm start` uses, and in the folder it was called from.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR_MIN = 24
const sources = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const scripts = new URL('../../../scripts/', import.meta.url)

if (existsSync(sources) && existsSync(new URL('bootstrap.mjs', scripts))) {
  const [{ bootstrap }, { runToEnd }, { SetupError, SOURCE_CONDITION }] = await Promise.all(
    ['bootstrap.mjs', 'child.mjs', 'repository.mjs'].map(name => import(new URL(name, scripts).href))
  )
  try {
    const { node, env } = await bootstrap()
    const { exitCode } = await runToEnd(node, [SOURCE_CONDITION, sources, ...process.argv.slice(2)], { env })
    process.exitCode = exitCode
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
} else if (Number.parseInt(process.versions.node, 10) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `tributary needs Node ${NODE_MAJOR_MIN} or later; this is Node ${process.versions.node}\n`
  )
  process.exitCode = 1
} else {
  await import('../dist/main.js')
}
