// A server that does as its first argument says; run by the life-cycle and supervisor tests.
import { createServer } from 'node:net'
import { createLog, processPort, runMain, runUntilSignal } from '../../src/index.ts'

const behaviour = process.argv[2] ?? 'serve'
const keepAlive = setInterval(() => {}, 1_000)

await runMain(processPort(process), async port => {
  const log = createLog({ name: 'child', format: 'json' })
  if (behaviour === 'misconfigured') {
    const { ConfigError } = await import('../../src/index.ts')
    throw new ConfigError([{ key: 'a.b', value: '1', origin: 'test', expected: 'another' }])
  }
  port.onMessage(message => {
    if ((message as { type?: string }).type === 'echo') port.send({ ...(message as object), type: 'echoed' })
    if ((message as { type?: string }).type === 'spin') for (;;) if (Date.now() < 0) break
    if ((message as { type?: string }).type === 'crash') throw new Error('told to crash')
    if ((message as { type?: string }).type === 'reject') void Promise.reject(new Error('told to reject'))
  })
  const server = {
    async start(signal: AbortSignal) {
      port.writeOut(`starting ${port.args.join(' ')}\n`)
      if (behaviour === 'flags') port.writeOut(`flags ${port.execArgv.join(' ')}\n`)
      if (behaviour === 'die') port.exit(7)
      if (behaviour === 'never') await new Promise(() => {})
      if (behaviour === 'slow-start') {
        await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error))
        )
      }
      if (behaviour === 'taken') {
        const listener = createServer().listen(Number(port.args[1]), '127.0.0.1')
        await new Promise((resolve, reject) => listener.on('listening', resolve).on('error', reject))
      }
    },
    async stop(deadline: AbortSignal) {
      log.info('stop was called')
      if (behaviour === 'deaf') await new Promise(() => {})
      if (behaviour === 'until-deadline') {
        await new Promise(resolve => deadline.addEventListener('abort', resolve))
      }
      if (behaviour === 'bad-stop') throw new Error('cannot stop')
      clearInterval(keepAlive)
    }
  }
  await runUntilSignal(server, {
    port,
    log,
    stopMs: 300,
    onReady: () => {
      if (!port.hasParent) port.writeOut('ready\n')
      if (behaviour === 'crash-soon') setTimeout(() => port.exit(3), 5)
      return { port: 4_711, size: 2n ** 60n }
    }
  })
})
