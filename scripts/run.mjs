// node scripts/run.mjs WHAT [arguments]: runs a TypeScript file of ours, or a tool of the workspace, under Node 24.
import { join } from 'node:path'
import { bootstrap } from './bootstrap.mjs'
import { runToEnd } from './child.mjs'
import { provideConsole } from './console-build.mjs'
import { ROOT, SetupError, SOURCE_CONDITION } from './repository.mjs'
import { programOf } from './tool.mjs'

try {
  const [what, ...args] = process.argv.slice(2)
  const ground = await bootstrap()
  const { node, env } = ground
  const ours = what.endsWith('.ts')
  if (ours) await provideConsole(ground) // a gateway in it has a page to serve
  const program = ours ? join(ROOT, what) : programOf(what)
  const { exitCode } = await runToEnd(node, [SOURCE_CONDITION, program, ...args], { cwd: ROOT, env })
  process.exitCode = exitCode
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}
