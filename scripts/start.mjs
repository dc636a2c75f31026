// npm start -- [flags]: `tributary up [flags]`, after making sure of everything it needs.
//
// The command runs in a process group of its own, so that a terminal's Ctrl-C reaches it exactly once, through us. It learns
// that we are gone (SIGKILL included) by the `disconnect` event of its IPC channel, or by its parent's pid changing;
// TRIBUTARY_PARENT_PID holds ours, and is there only if somebody watches the child like this.
import { join } from 'node:path'
import { bootstrap } from './bootstrap.mjs'
import { runToEnd } from './child.mjs'
import { provideConsole } from './console-build.mjs'
import { ROOT, SetupError, SOURCE_CONDITION } from './repository.mjs'

try {
  const ground = await bootstrap()
  const { node, env } = ground
  await provideConsole(ground)
  const main = join(ROOT, 'packages', 'cli', 'src', 'main.ts')
  const { exitCode } = await runToEnd(node, [SOURCE_CONDITION, main, 'up', ...process.argv.slice(2)], {
    env: { ...env, TRIBUTARY_PARENT_PID: String(process.pid) },
    ipc: true
  })
  process.exitCode = exitCode
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}
