/** Where a Type=notify service says that it is ready: a datagram socket, which Node has not, so Perl (always there) listens. */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const FOLDER = '/run/notify'
const LISTENER = `
use Socket; $| = 1;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($socket, pack_sockaddr_un($ARGV[0])) or die $!;
print "LISTENING\\n";
while (defined recv($socket, my $text, 65536, 0)) { print "$text\\n" }
`

export class NotifySocket {
  readonly path: string
  /** Resolves at the first READY=1. */
  readonly ready: Promise<void>
  readonly #listener: ChildProcess

  private constructor(path: string, listener: ChildProcess, ready: Promise<void>) {
    this.path = path
    this.#listener = listener
    this.ready = ready
  }

  static async open(name: string): Promise<NotifySocket> {
    mkdirSync(FOLDER, { recursive: true, mode: 0o755 })
    const path = join(FOLDER, name)
    rmSync(path, { force: true })
    const listener = spawn('perl', ['-e', LISTENER, path], { stdio: ['ignore', 'pipe', 'ignore'] })
    const lines = createInterface(listener.stdout!)
    const [first] = await Promise.race([once(lines, 'line'), once(listener, 'exit')])
    if (first !== 'LISTENING') throw new Error(`nothing can listen at ${path}`)
    chmodSync(path, 0o777) // every User= may speak
    const ready = new Promise<void>(resolve => {
      lines.on('line', line => {
        if (line === 'READY=1') resolve()
      })
    })
    return new NotifySocket(path, listener, ready)
  }

  close(): void {
    this.#listener.kill('SIGKILL')
    rmSync(this.path, { force: true })
  }
}
