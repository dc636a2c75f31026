/** Entry of a data worker process; its parent is the storage server's main process. */
import { createLog, EXIT, processPort, runMain, runUntilSignal } from '@tributary/runtime'
import { DataWorker } from './data-worker.ts'
import { isOrder, isReload, type OrderMessage } from './worker-message.ts'

const REPORT_INTERVAL_MS = 1_000

await runMain(processPort(process), async port => {
  const order = await new Promise<OrderMessage>(resolve => {
    const stopListening = port.onMessage(message => {
      if (!isOrder(message)) return
      stopListening()
      resolve(message)
    })
    // Without its main process nobody speaks for it to the trackers, and a successor waits for its leftovers: it ends
    // at once, as the promise of a success reply allows at any time.
    port.onDisconnect(() => port.exit(0))
    port.send({ type: 'ask' })
  })
  const log = createLog({ name: `storage.${order.index}`, level: order.config.logLevel })
  const worker: DataWorker = new DataWorker(
    order,
    log,
    {
      residentBytes: () => port.residentBytes(),
      cpuSeconds: () => port.cpuSeconds().user + port.cpuSeconds().system
    },
    {
      report: () => port.send(worker.report()),
      restart: () => {
        log.flush()
        port.exit(EXIT.failed)
      }
    }
  )
  port.onMessage(message => {
    if (!isReload(message)) return
    log.setLevel(message.config.logLevel)
    worker.reload(message.config)
  })
  await runUntilSignal(
    { start: () => worker.start(), stop: deadline => worker.stop(deadline) },
    {
      port,
      log,
      stopMs: order.config.stopTimeoutS * 1_000,
      // A signal to the whole process group is none of its own: the main process says what changed.
      onReload: () => {},
      onReady: () => {
        port.send(worker.report())
        setInterval(() => port.send(worker.report()), REPORT_INTERVAL_MS).unref()
        return {}
      }
    }
  )
})
