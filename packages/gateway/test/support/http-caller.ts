/** Requests as bytes and headers, without the help that fetch() gives. */
import { request, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { connect } from 'node:net'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  text: string
  json: any
}

export interface Ask {
  method?: string
  headers?: OutgoingHttpHeaders
  body?: Buffer | string
}

export class HttpCaller {
  readonly host: string
  readonly port: number
  constructor({ host, port }: { host: string; port: number }) {
    this.host = host
    this.port = port
  }

  get url(): string {
    return `http://${this.host}:${this.port}`
  }

  ask(path: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { host: this.host, port: this.port, path, method, headers, agent: false },
        incoming => {
          const chunks: Buffer[] = []
          incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
          incoming.on('error', reject)
          incoming.on('end', () => {
            const bytes = Buffer.concat(chunks)
            const text = bytes.toString()
            resolve({
              status: incoming.statusCode!,
              headers: incoming.headers,
              body: bytes,
              text,
              get json() {
                return JSON.parse(text)
              }
            })
          })
        }
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  /** Sends bytes as they are, and resolves with all that comes until the server closes. */
  raw(bytes: string | Buffer, { halfClose = false } = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      const socket = connect(this.port, this.host)
      socket.on('connect', () => (halfClose ? socket.end(bytes) : socket.write(bytes)))
      socket.on('data', chunk => chunks.push(chunk))
      socket.on('error', reject)
      socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
    })
  }
}
