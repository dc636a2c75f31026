/** `systemctl` of a host, as scripts call it: the host's supervisor, which is no systemd, does what it is asked for. */
import { giveOrder } from './control.ts'
import { SYSTEMCTL_SOCKET } from './furniture.ts'

const { exitCode, stdout, stderr } = await giveOrder(SYSTEMCTL_SOCKET, process.argv.slice(2))
process.stdout.write(stdout)
process.stderr.write(stderr)
process.exitCode = exitCode
