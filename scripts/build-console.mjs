// node scripts/build-console.mjs: the console, as `npm start` provides it.
import { bootstrap } from './bootstrap.mjs'
import { provideConsole } from './console-build.mjs'
import { SetupError } from './repository.mjs'

try {
  await provideConsole(await bootstrap())
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}
