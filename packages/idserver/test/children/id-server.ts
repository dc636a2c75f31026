// An ID server in a process of its own: the database's address and the step as arguments, the port over IPC.
import { loadConfig, silentLog, systemClock } from '@tributary/runtime'
import { createIdServer, idServerConfig } from '../../src/index.ts'

const [database, step] = process.argv.slice(2)
const config = loadConfig(idServerConfig, {
  flags: { '--port': '0', '--database': database, '--step': step }
})
const server = createIdServer({ config, log: silentLog(), clock: systemClock(), version: '0.1.0' })
process.on('disconnect', () => process.exit())
process.send!(await server.start())
