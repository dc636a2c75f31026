/** One connection to a server, spoken to in raw frames, as an existing client would; with HELLO, as one of ours. */
import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import {
  COMMANDS,
  encodeDownload,
  encodeFieldBlock,
  encodeFileKey,
  encodeFrame,
  encodeUploadHead,
  ERRORS,
  extension,
  HEADER_BYTES,
  writeHeader,
  type Address,
  type ErrorCode,
  type FetchReply,
  type FetchRequest,
  type FileKey,
  type StatReply,
  type StoreReply,
  type StoreRequest
} from '@tributary/protocol'
import { encodeGreeting } from '@tributary/transport'

const REPLY_MS = 30_000

export interface WireReply {
  command: number
  status: number
  body: Buffer
  /** Of an error reply: the number in front of the text. */
  errno: number
  text: string
}

/** The server answered with an error. */
export class Refused extends Error {
  readonly errno: number
  readonly code: ErrorCode | undefined
  constructor({ errno, text }: WireReply) {
    super(text)
    this.errno = errno
    this.code = (Object.keys(ERRORS) as ErrorCode[]).find(name => ERRORS[name].wire === errno)
  }
}

/** The connection ended without a reply. */
export class Lost extends Error {}

export class WirePeer {
  readonly socket: Socket
  readonly #waiting: { resolve: (reply: WireReply) => void; reject: (error: Error) => void }[] = []
  #received: Buffer[] = []
  #bytes = 0
  #lost = false

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', chunk => this.#take(chunk as Buffer))
    socket.on('error', () => {})
    const lose = (): void => {
      this.#lost = true
      for (const { reject } of this.#waiting.splice(0)) reject(new Lost('the connection is gone'))
    }
    socket.on('end', lose)
    socket.on('close', lose)
  }

  static async open({ host, port }: Address): Promise<WirePeer> {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
    await once(socket, 'connect')
    return new WirePeer(socket)
  }

  /**
   * A connection of one of our own programs: extension commands, and numbers in errors.
   *
   * @param clusterKey of a cluster that has one: it is proved (docs/PROTOCOL.md, AUTHENTICATE)
   */
  static async greeted(address: Address, clusterKey?: string): Promise<WirePeer> {
    const peer = await WirePeer.open(address)
    const nonce = randomBytes(16).toString('hex')
    const greeting = encodeGreeting({ role: 'client', cluster: '', version: '0.0.0', clusterKey }, nonce)
    const hello = await peer.ask(encodeFrame(COMMANDS.STORAGE_HELLO.code, greeting))
    if (clusterKey !== undefined) {
      const { nonce: serverNonce } = extension.hello.decode(hello)
      const said = `tributary authenticate 1\0client\0storage\0${nonce}\0${serverNonce}\0\0`
      const proof = createHmac('sha256', clusterKey).update(said).digest('hex')
      const { code } = COMMANDS.STORAGE_AUTHENTICATE
      await peer.ask(encodeFrame(code, extension.authenticate.encode({ proof })))
    }
    return peer
  }

  get lost(): boolean {
    return this.#lost
  }

  close(): void {
    this.socket.destroy()
  }

  /** The next reply, success or not. @throws {Lost} */
  reply(): Promise<WireReply> {
    if (this.#lost) return Promise.reject(new Lost('the connection is gone'))
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no reply within ${REPLY_MS} ms`)), REPLY_MS)
      this.#waiting.push({
        resolve: reply => {
          clearTimeout(late)
          resolve(reply)
        },
        reject: error => {
          clearTimeout(late)
          reject(error)
        }
      })
    })
  }

  exchange(...parts: readonly Buffer[]): Promise<WireReply> {
    const reply = this.reply()
    for (const part of parts) this.socket.write(part)
    return reply
  }

  /** Body of a success reply. @throws {Refused | Lost} */
  async ask(...parts: readonly Buffer[]): Promise<Buffer> {
    const reply = await this.exchange(...parts)
    if (reply.status !== 0) throw new Refused(reply)
    return reply.body
  }

  async upload(key: FileKey, content: Buffer): Promise<void> {
    await this.ask(uploadHead(key, content.byteLength), content)
  }

  async size(key: FileKey): Promise<number> {
    return Number((await this.ask(encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(key)))).readBigInt64BE())
  }

  download(key: FileKey, offset = 0, sizeBytes = 0): Promise<Buffer> {
    return this.ask(encodeFrame(COMMANDS.DOWNLOAD.code, encodeDownload({ key, offset, sizeBytes })))
  }

  async delete(key: FileKey): Promise<void> {
    await this.ask(encodeFrame(COMMANDS.DELETE.code, encodeFileKey(key)))
  }

  async stat(key: FileKey): Promise<StatReply> {
    return extension.statReply.decode(
      await this.ask(encodeFrame(COMMANDS.STAT.code, extension.stat.encode(key)))
    )
  }

  async fetch(request: FetchRequest): Promise<{ facts: FetchReply; content: Buffer }> {
    const body = await this.ask(encodeFrame(COMMANDS.FETCH.code, extension.fetch.encode(request)))
    const fieldsBytes = body.readUInt32BE(0)
    return {
      facts: extension.fetchReply.decode(body.subarray(4, 4 + fieldsBytes)),
      content: body.subarray(4 + fieldsBytes)
    }
  }

  async store(request: StoreRequest, inline?: Buffer): Promise<StoreReply> {
    const fields = encodeFieldBlock(extension.store.encode(request))
    const frame = inline
      ? encodeFrame(COMMANDS.STORE.code, fields, inline)
      : encodeFrame(COMMANDS.STORE.code, fields)
    return extension.storeReply.decode(await this.ask(frame))
  }

  /** A piece of an announced upload, or all of it: the reply's body. */
  storeBody(content: Buffer): Promise<Buffer> {
    return this.ask(encodeFrame(COMMANDS.STORE_BODY.code, content))
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#bytes += chunk.byteLength
    while (this.#bytes >= HEADER_BYTES) {
      if (this.#received[0]!.byteLength < HEADER_BYTES) this.#received = [Buffer.concat(this.#received)]
      const head = this.#received[0]!
      const bodyBytes = Number(head.readBigInt64BE(0))
      if (this.#bytes < HEADER_BYTES + bodyBytes) return
      const all = this.#received.length === 1 ? head : Buffer.concat(this.#received)
      const body = all.subarray(HEADER_BYTES, HEADER_BYTES + bodyBytes)
      const rest = all.subarray(HEADER_BYTES + bodyBytes)
      this.#received = rest.byteLength > 0 ? [rest] : []
      this.#bytes = rest.byteLength
      const status = all.readInt8(9)
      const end = body.indexOf(0, 2)
      this.#waiting.shift()?.resolve({
        command: all.readUInt8(8),
        status,
        body,
        errno: status === 0 ? 0 : body.readInt16BE(0),
        text: status === 0 ? '' : body.toString('utf8', 2, end < 0 ? body.byteLength : end)
      })
    }
  }
}

/** Header and the 408 bytes in front of an UPLOAD's content. */
export function uploadHead(key: FileKey, contentBytes: number, sizeField = contentBytes): Buffer {
  const head = encodeUploadHead({ key, sizeBytes: sizeField })
  const header = Buffer.alloc(HEADER_BYTES)
  writeHeader(header, 0, head.byteLength + contentBytes, COMMANDS.UPLOAD.code)
  return Buffer.concat([header, head])
}
