/** Orders to a running lab from another terminal: a line of JSON each way over a socket in the lab's folder. */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server } from 'node:net'
import { join, relative } from 'node:path'
import { text as textOf } from 'node:stream/consumers'

const SOCKET = 'control'
const ORDER_CHARACTERS_MAX = 64 * 1024

export interface Answer {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** The socket of the lab in `folder`, short: a socket's path has at most 107 bytes. */
export function controlPath(folder: string, cwd: string): string {
  const [absolute, fromHere] = [join(folder, SOCKET), relative(cwd, join(folder, SOCKET))]
  return fromHere.length < absolute.length ? fromHere : absolute
}

/** Folders beneath `root` whose labs run. */
export async function runningLabs(root: string, cwd: string): Promise<string[]> {
  const names = existsSync(root) ? readdirSync(root) : []
  const folders = names.map(name => join(root, name))
  const answers = await Promise.all(folders.map(folder => isAnswering(controlPath(folder, cwd))))
  return folders.filter((_, at) => answers[at])
}

export function isAnswering(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** @throws nobody answers there */
export async function giveOrder(path: string, words: readonly string[]): Promise<Answer> {
  const socket = createConnection({ path, allowHalfOpen: true })
  socket.end(JSON.stringify(words))
  return JSON.parse(await textOf(socket)) as Answer
}

/** @param take carries an order out; what it throws is the answer, with exit code 1 */
export async function openControl(
  path: string,
  take: (words: readonly string[]) => Promise<Answer>
): Promise<Server> {
  rmSync(path, { force: true })
  const server = createServer({ allowHalfOpen: true }, socket => {
    let order = ''
    socket.on('error', () => {}) // whoever asked has gone
    socket.setEncoding('utf8').on('data', (text: string) => {
      order += text
      if (order.length > ORDER_CHARACTERS_MAX) socket.destroy()
    })
    socket.on('end', () => {
      if (order === '') return socket.destroy()
      void answer(order).then(reply => socket.end(JSON.stringify(reply)))
    })
  })
  const answer = async (order: string): Promise<Answer> => {
    try {
      return await take(JSON.parse(order) as string[])
    } catch (error) {
      return {
        exitCode: 1,
        stdout: '',
        stderr: `${error instanceof Error ? error.message : String(error)}\n`
      }
    }
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return server
}
