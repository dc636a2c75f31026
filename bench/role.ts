/** One server of the cluster under test as a process of its own: `role.ts tracker|id|storage|gateway FLAGS`, flags as JSON. */
import {
  createLog,
  loadConfig,
  processPort,
  runMain,
  runUntilSignal,
  systemClock,
  type HostPort
} from '@tributary/runtime'

const VERSION = '0.0.0'
const STOP_MS = 5_000

await runMain(processPort(process), async port => {
  const [role, json] = port.args
  const flags = JSON.parse(json!) as Record<string, string>
  const log = createLog({ name: role!, level: 'error' })
  const common = { log, clock: systemClock(), version: VERSION }
  const server = await (async () => {
    // Each process loads its own role only, as in production.
    switch (role) {
      case 'tracker': {
        const { createTracker, trackerConfig } = await import('@tributary/tracker')
        return createTracker({ ...common, config: loadConfig(trackerConfig, { flags }) })
      }
      case 'id': {
        const { createIdServer, idServerConfig } = await import('@tributary/idserver')
        return createIdServer({ ...common, config: loadConfig(idServerConfig, { flags }) })
      }
      case 'storage': {
        const { createStorage, storageConfig } = await import('@tributary/storage')
        return createStorage({ ...common, port, config: loadConfig(storageConfig, { flags }) })
      }
      case 'gateway': {
        const { createGateway, gatewayConfig } = await import('@tributary/gateway')
        return createGateway({ ...common, config: loadConfig(gatewayConfig, { flags }) })
      }
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
