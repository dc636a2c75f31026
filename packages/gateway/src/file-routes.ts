/** `/files/…`: files, and the folders that list them. */
import type { FastifyInstance } from 'fastify'
import type { FileKey } from '@tributary/protocol'
import type { Door } from './access/door.ts'
import { markPrivate } from './access/private-answers.ts'
import type { Answering } from './answering.ts'
import { methodNotAllowed, sendWhole, type Exchange } from './exchange.ts'
import { CORS_HEADERS } from './file-headers.ts'
import { listFiles } from './file-listing.ts'
import type { FileReader } from './file-reader.ts'
import type { FileService } from './file-service.ts'
import { FILES_PREFIX, parseTarget, type Owner, type Target } from './file-target.ts'
import type { FileWriter } from './file-writer.ts'
import { routeOf, type HttpMeter } from './http-meter.ts'
import { PREFLIGHT_HEADERS } from './preflight.ts'
import { HttpProblem } from './problem.ts'

const FILE_METHODS = 'GET, HEAD, PUT, DELETE, OPTIONS'
const FOLDER_METHODS = 'GET, HEAD, POST, OPTIONS'

export interface FileRoutesParts {
  files: FileService
  door: Door
  reader: FileReader
  writer: FileWriter
  meter: HttpMeter
  /** Whose a file is whose address does not say it. */
  owner: Owner
}

export class FileRoutes {
  readonly #parts: FileRoutesParts

  constructor(parts: FileRoutesParts) {
    this.#parts = parts
  }

  add(app: FastifyInstance, answering: Answering): void {
    app.route({
      method: 'GET',
      url: `${FILES_PREFIX}*`,
      handler: (request, reply) => answering.run('GET file', request.raw, reply, this.get)
    })
    app.route({
      method: ['HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH'],
      url: `${FILES_PREFIX}*`,
      // Before the framework looks at the content, its type or its length.
      onRequest: (request, reply) =>
        answering.run(routeOf(request.method, 'file'), request.raw, reply, this.#other),
      handler: () => {}
    })
  }

  readonly get = (exchange: Exchange): Promise<number> => {
    const { door, reader, owner } = this.#parts
    exchange.errorHeaders = CORS_HEADERS
    const target = parseTarget(exchange.request.url!, owner)
    if (isFile(target)) {
      if (door.isOpen(target.application)) return reader.get(exchange, target, target.query)
      return this.#afterDoor(exchange, target, () => reader.get(exchange, target, target.query))
    }
    exchange.route = 'GET folder'
    exchange.errorHeaders = []
    return this.#list(exchange, target)
  }

  readonly #other = (exchange: Exchange): number | Promise<number> => {
    const { reader, writer, meter, owner } = this.#parts
    const { request } = exchange
    const target = parseTarget(request.url!, owner)
    const file = isFile(target)
    switch (request.method) {
      case 'HEAD':
        if (file) {
          exchange.errorHeaders = CORS_HEADERS
          return this.#afterDoor(exchange, target, () => reader.head(exchange, target, target.query))
        }
        exchange.route = 'HEAD folder'
        return this.#list(exchange, target)
      case 'OPTIONS':
        return describe(exchange, file)
      case 'PUT':
        if (!file) break
        return this.#written(exchange, target, () =>
          meter.receiving(exchange.request, writer.put(exchange, target, target.query))
        )
      case 'POST':
        if (file) break
        exchange.route = 'POST folder'
        return this.#written(exchange, target, () =>
          meter.receiving(exchange.request, writer.post(exchange, target, target.query))
        )
      case 'DELETE':
        if (!file) break
        return this.#written(exchange, target, () => writer.delete(exchange, target))
      default:
    }
    throw methodNotAllowed(methodsOf(target))
  }

  /** What is wrong with a method that no route takes. */
  refusal(url: string): HttpProblem {
    try {
      return methodNotAllowed(methodsOf(parseTarget(url, this.#parts.owner)))
    } catch {
      return new HttpProblem(404, 'there is nothing at this URL')
    }
  }

  /** Not for scripts of other sites: a list tells what there is. */
  async #list(exchange: Exchange, target: Target): Promise<number> {
    const { files, door } = this.#parts
    await door.authorize(exchange, 'read', target)
    return listFiles(exchange, files, target, target.query)
  }

  async #afterDoor(exchange: Exchange, film: FileKey, work: () => number | Promise<number>): Promise<number> {
    const { door } = this.#parts
    await door.admitRead(exchange, film)
    if (door.isPrivate(film.application)) markPrivate(exchange.request)
    return work()
  }

  async #written(exchange: Exchange, target: Target, work: () => Promise<number>): Promise<number> {
    await this.#parts.door.admitWrite(exchange, target)
    return work()
  }
}

/** Also the preflight of a script of another site: it may read files, and no more. */
function describe(exchange: Exchange, file: boolean): number {
  const headers = ['Allow', file ? FILE_METHODS : FOLDER_METHODS]
  if (file) headers.push(...PREFLIGHT_HEADERS)
  sendWhole(exchange, 204, headers)
  return 204
}

function methodsOf(target: Target): string {
  return isFile(target) ? FILE_METHODS : FOLDER_METHODS
}

function isFile(target: Target): target is Target & { file: string } {
  return target.file !== undefined
}
