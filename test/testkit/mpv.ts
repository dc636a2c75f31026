/** mpv without a screen, driven through its JSON IPC. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startProgram } from './program.ts'

const START_MS = 15_000
const REPLY_MS = 10_000
const POLL_MS = 50

interface Reply {
  request_id?: number
  error?: string
  data?: unknown
}

export class Mpv {
  readonly #process: ChildProcess
  readonly #socket: Socket
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #lastId = 0
  #text = ''

  private constructor(process: ChildProcess, socket: Socket) {
    this.#process = process
    this.#socket = socket
    socket.setEncoding('utf8').on('data', (text: unknown) => this.#take(String(text)))
  }

  /** Plays `url` with `--cache=no`, so that every seek reaches the server. `folder`: for its socket. */
  static async play(url: string, folder: string): Promise<Mpv> {
    const path = join(folder, `mpv-${Math.random().toString(36).slice(2)}`)
    const child = startProgram('mpv', [
      '--no-config',
      '--vo=null',
      '--ao=null',
      '--no-terminal',
      '--cache=no',
      '--keep-open=yes',
      `--input-ipc-server=${path}`,
      url
    ])
    child.stdout!.resume()
    child.stderr!.resume()
    const endMs = performance.now() + START_MS
    for (;;) {
      const socket = createConnection(path)
      const connected = await new Promise<boolean>(resolve => {
        socket.once('connect', () => resolve(true))
        socket.once('error', () => resolve(false))
      })
      if (connected) return new Mpv(child, socket)
      if (child.exitCode !== null || performance.now() > endMs) {
        child.kill('SIGKILL')
        throw new Error(`mpv did not start (exit ${child.exitCode})`)
      }
      await sleep(POLL_MS)
    }
  }

  /** @throws mpv refused it, or said nothing. */
  async command(...words: unknown[]): Promise<unknown> {
    const id = ++this.#lastId
    const reply = await new Promise<Reply>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`mpv is silent after ${words.join(' ')}`)), REPLY_MS)
      this.#waiting.set(id, answer => {
        clearTimeout(late)
        resolve(answer)
      })
      this.#socket.write(`${JSON.stringify({ command: words, request_id: id })}\n`)
    })
    if (reply.error !== 'success') throw new Error(`mpv: ${words.join(' ')}: ${reply.error}`)
    return reply.data
  }

  /** undefined: not known now, as before the first picture. */
  async number(property: string): Promise<number | undefined> {
    const value = await this.command('get_property', property).catch(() => undefined)
    return typeof value === 'number' ? value : undefined
  }

  /** Resolves with the first value that satisfies. @throws none did in time. */
  async until(property: string, wanted: (value: number) => boolean, timeoutMs = 20_000): Promise<number> {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const value = await this.number(property)
      if (value !== undefined && wanted(value)) return value
      if (performance.now() > endMs) throw new Error(`mpv's ${property} stayed at ${value}`)
      await sleep(POLL_MS)
    }
  }

  async quit(): Promise<void> {
    this.#socket.destroy()
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await gone
  }

  #take(text: string): void {
    const lines = (this.#text + text).split('\n')
    this.#text = lines.pop()!
    for (const line of lines) {
      const reply = JSON.parse(line) as Reply
      if (reply.request_id === undefined) continue // an event
      this.#waiting.get(reply.request_id)?.(reply)
      this.#waiting.delete(reply.request_id)
    }
  }
}
