/** Holds a lab of hosts made by hand until it is killed: argument 1 is what was rendered, 2 the lab's folder. */
import { Lab } from '../../lab/lab.ts'

const [, , rendered = '', folder = ''] = process.argv
const lab = await Lab.up({ rendered, folder })
for (const host of lab.hosts) await host.startUnit('sleeper')
process.stdout.write('up\n')
setInterval(() => {}, 60_000)
