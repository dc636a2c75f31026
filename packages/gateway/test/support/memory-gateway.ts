import type { TestContext } from 'node:test'
import { loadConfig, silentLog, systemClock } from '@tributary/runtime'
import { createGateway, gatewayConfig } from '../../src/index.ts'
import { HttpCaller } from './http-caller.ts'
import { MemoryFiles } from './memory-files.ts'

/** A gateway over memory, stopped with the test. */
export async function memoryGateway(
  t: Pick<TestContext, 'after'>,
  flags: Record<string, unknown> = {}
): Promise<{ files: MemoryFiles; http: HttpCaller; gateway: ReturnType<typeof createGateway> }> {
  const files = new MemoryFiles()
  const gateway = createGateway({
    config: loadConfig(gatewayConfig, { flags: { port: 0, ...flags } }),
    log: silentLog(),
    clock: systemClock(),
    version: '0.0.0',
    client: files
  })
  const http = new HttpCaller(await gateway.start())
  t.after(() => gateway.stop(AbortSignal.timeout(100)))
  return { files, http, gateway }
}
