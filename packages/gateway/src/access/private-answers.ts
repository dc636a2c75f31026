/** Answers that a cache which others share must not keep: what they hold is not for everybody. */
import type { IncomingMessage, ServerResponse } from 'node:http'

const PRIVATE = new WeakSet<IncomingMessage>()

/** The film that is asked for is not everybody's. */
export function markPrivate(request: IncomingMessage): void {
  PRIVATE.add(request)
}

export function isPrivate(request: IncomingMessage): boolean {
  return PRIVATE.has(request)
}

/** `public, max-age=60` → `private, max-age=60` */
export function privateCacheControl(value: string): string {
  const kept = value
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '' && !/^(?:public|private|s-maxage=.*)$/i.test(part))
  return ['private', ...kept].join(', ')
}

/** The same for routes that write their headers themselves: whatever they say, it is private. */
export function makePrivate(request: IncomingMessage, response: ServerResponse): void {
  markPrivate(request)
  const writeHead = response.writeHead.bind(response) as (...args: unknown[]) => ServerResponse
  response.writeHead = ((...args: unknown[]) => {
    const headers = args.at(-1)
    if (Array.isArray(headers)) {
      for (let index = 0; index < headers.length; index += 2) {
        if (String(headers[index]).toLowerCase() === 'cache-control')
          headers[index + 1] = privateCacheControl(String(headers[index + 1]))
      }
    } else if (typeof headers === 'object' && headers !== null) {
      const named = headers as Record<string, unknown>
      for (const name of Object.keys(named)) {
        if (name.toLowerCase() === 'cache-control') named[name] = privateCacheControl(String(named[name]))
      }
    }
    const set = response.getHeader('Cache-Control')
    if (set !== undefined) response.setHeader('Cache-Control', privateCacheControl(String(set)))
    return writeHead(...args)
  }) as ServerResponse['writeHead']
}
