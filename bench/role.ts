/** One server of the cluster under test as a process of its own: `role.ts tracker|id|storage|gateway FLAGS`, flags as JSON. */
import { createGateway, gatewayConfig } from '@tributary/gateway'
import { createIdServer, idServerConfig } from '@tributary/idserver'
import {
  createLog,
  loadConfig,
  processPort,
  runMain,
  runUntilSignal,
  systemClock,
  type HostPort
} from '@tributary/runtime'
import { createStorage, storageConfig } from '@tributary/storage'
import { createTracker, trackerConfig } from '@tributary/tracker'

const VERSION = '0.0.0'
const STOP_MS = 5_000

await runMain(processPort(process), async port => {
  const [role, json] = port.args
  const flags = JSON.parse(json!) as Record<string, string>
  const log = createLog({ name: role!, level: 'error' })
  const common = { log, clock: systemClock(), version: VERSION }
  const server = (() => {
    switch (role) {
      case 'tracker':
        return createTracker({ ...common, config: loadConfig(trackerConfig, { flags }) })
      case 'id':
        return createIdServer({ ...common, config: loadConfig(idServerConfig, { flags }) })
      case 'storage':
        return createStorage({ ...common, port, config: loadConfig(storageConfig, { flags }) })
      case 'gateway':
        return createGateway({ ...common, config: loadConfig(gatewayConfig, { flags }) })
      default:
        throw new Error(`no role: ${role}`)
    }
  })()
  let address: HostPort = { host: '', port: 0 }
  await runUntilSignal(
    { start: async () => (address = await server.start()), stop: deadline => server.stop(deadline) },
    { port, log, stopMs: STOP_MS, onReady: () => ({ host: address.host, port: address.port }) }
  )
})
