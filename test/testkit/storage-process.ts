/** Entry of a storage server as a process of its own, so that a test may kill it; the test is its parent. */
import { createLog, loadConfig, processPort, runMain, runUntilSignal, systemClock } from '@tributary/runtime'
import { createStorage, storageConfig } from '@tributary/storage'

const STOP_MS = 3_000

await runMain(processPort(process), async port => {
  const [flags = '{}'] = port.args
  const log = createLog({ name: 'storage', level: 'warn' })
  const server = createStorage({
    config: loadConfig(storageConfig, { flags: JSON.parse(flags) as Record<string, string> }),
    log,
    clock: systemClock(),
    version: '0.0.0',
    port
  })
  let address = { host: '', port: 0 }
  await runUntilSignal(
    {
      start: async signal => {
        address = await server.start(signal)
      },
      stop: deadline => server.stop(deadline)
    },
    { port, log, stopMs: STOP_MS, onReady: () => ({ ...address }) }
  )
})
