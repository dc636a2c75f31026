/** A FUSE mount of a folder elsewhere, which a test takes away and puts back. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { programPath } from '../testkit/service.ts'
import { cleanUp } from './cleanup.ts'
import { unmount } from './mounts.ts'

const MOUNTED_MS = 5_000

export class Bindfs {
  readonly backing: string
  readonly mounted: string
  #process: ChildProcess | undefined

  /** Makes both folders, and mounts. Unmounted when the test ends. */
  static async start(t: TestContext, backing: string, mounted: string): Promise<Bindfs> {
    const bindfs = new Bindfs(backing, mounted)
    await mkdir(backing, { recursive: true })
    await mkdir(mounted, { recursive: true })
    await bindfs.mount()
    cleanUp(t, () => bindfs.unmount())
    return bindfs
  }

  private constructor(backing: string, mounted: string) {
    this.backing = backing
    this.mounted = mounted
  }

  async mount(): Promise<void> {
    const args = ['-f', '--no-allow-other', this.backing, this.mounted]
    this.#process = spawn(programPath('bindfs')!, args, { stdio: 'ignore' })
    const beneath = (await stat(dirname(this.mounted))).dev
    const endMs = performance.now() + MOUNTED_MS
    while ((await stat(this.mounted)).dev === beneath) {
      if (performance.now() > endMs) throw new Error('bindfs did not mount')
      await sleep(10)
    }
  }

  /** Takes the mount away though it is in use, and with `dies` the process behind it first. */
  async unmount(dies = false): Promise<void> {
    const own = this.#process
    this.#process = undefined
    if (!own) return
    const gone = own.exitCode === null && own.signalCode === null ? once(own, 'exit') : undefined
    if (dies) own.kill('SIGKILL')
    await unmount(this.mounted, false)
    own.kill('SIGKILL')
    await gone
  }
}
