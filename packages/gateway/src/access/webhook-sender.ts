/** One delivery of a webhook: signed, in bounded time, and only to where it may go. */
import { createHmac } from 'node:crypto'
import { lookup } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { AllowList, plainAddress } from '@tributary/runtime'
import type { TakenDelivery } from '@tributary/calls'

const TIMEOUT_MS = 10_000
/** Of an answer that nobody reads. */
const REPLY_BYTES_MAX = 64 * 1024
/**
 * Networks that nobody outside reaches, and what stands for them: a webhook must not make this machine ask its neighbours for
 * something.
 */
const INSIDE = AllowList.parse([
  'loopback',
  'private',
  '0.0.0.0/8',
  '100.64.0.0/10',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '198.18.0.0/15',
  '224.0.0.0/3',
  // IPv4 in other clothes, which some router may take off.
  '::/96',
  '::ffff:0:0:0/96',
  '2001::/32',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2002::/16',
  'fec0::/10',
  'ff00::/8'
])

export interface SenderOptions {
  /** Networks of ours that webhooks may nevertheless go to. */
  allow: AllowList
  nowMs: () => number
  version: string
}

/** Whether a URL can be one of a webhook at all. @returns why not, in words; undefined: it can. */
export function webhookUrlFault(text: string, allow: AllowList): string | undefined {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return 'it is no URL'
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'it begins with https:// or http://'
  if (url.username !== '' || url.password !== '') return 'it holds no name and no password'
  const host = hostOf(url)
  if (isIP(host) !== 0 && !mayGo(host, allow))
    return `${host} is an address inside; 'webhook_networks' can allow it`
  return undefined
}

/** `t=SECONDS,v1=HMAC-SHA-256 of "SECONDS.BODY"`, hexadecimal. */
export function webhookSignature(secret: string, body: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1_000)
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`
}

/** @returns what went wrong, in words; empty: it was taken. Never rejects. */
export function sendWebhook(
  { id, event, body, url: text, secret }: TakenDelivery,
  { allow, nowMs, version }: SenderOptions
): Promise<string> {
  const fault = webhookUrlFault(text, allow)
  if (fault !== undefined) return Promise.resolve(fault)
  const url = new URL(text)
  return new Promise(resolve => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = send(url, {
      method: 'POST',
      agent: false, // a connection that is kept would outlive the check of its address
      lookup: lookupAllowed(allow),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
        'User-Agent': `tributary/${version}`,
        'Tributary-Event': event,
        'Tributary-Delivery': id,
        'Tributary-Signature': webhookSignature(secret, body, nowMs())
      }
    })
    request.on('error', error => resolve(reasonOf(error)))
    request.on('response', response => {
      const { statusCode = 0 } = response
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.byteLength
        if (bytes > REPLY_BYTES_MAX) response.destroy()
      })
      response.on('error', () => {})
      // A redirection is not followed: it could lead anywhere.
      resolve(statusCode >= 200 && statusCode < 300 ? '' : `it answered ${statusCode}`)
    })
    request.end(body)
  })
}

/** Looks a name up, and gives an address only where all of its addresses may be gone to: it may change from look to look. */
function lookupAllowed(allow: AllowList): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0)
      const inside = addresses.find(({ address }) => !mayGo(address, allow))
      if (inside || !addresses[0]) {
        const problem = new Error(`${hostname} is ${inside?.address ?? 'nowhere'}, an address inside`)
        return callback(problem, '', 0)
      }
      if (options.all) return callback(null, addresses)
      callback(null, addresses[0].address, addresses[0].family)
    })
  }
}

function mayGo(address: string, allow: AllowList): boolean {
  const plain = plainAddress(address)
  return allow.allows(plain) || !INSIDE.allows(plain)
}

function hostOf({ hostname }: URL): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}

function reasonOf(error: Error): string {
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'it did not answer in time'
  return error.message.slice(0, 250)
}
