/**
 * What a supervised process and its parent say to each other over the IPC channel. Whatever has another
 * `type` belongs to the roles and is passed through.
 *
 *   child → parent   ready   once, when it serves, with fields of the role's own (ports, addresses)
 *   child → parent   failed  it cannot start, and why in one sentence
 *   parent → child   ping    and the child's event loop answers  pong  with the same id
 */
export type ReadyFields = Readonly<Record<string, unknown>>

export interface ReadyMessage {
  type: 'ready'
  pid: number
  fields: ReadyFields
}
export interface FailedMessage {
  type: 'failed'
  message: string
}
export interface PingMessage {
  type: 'ping'
  id: number
}
export interface PongMessage {
  type: 'pong'
  id: number
}

export function isReady(message: unknown): message is ReadyMessage {
  return typeOf(message) === 'ready'
}

export function isFailed(message: unknown): message is FailedMessage {
  return typeOf(message) === 'failed'
}

export function isPing(message: unknown): message is PingMessage {
  return typeOf(message) === 'ping'
}

export function isPong(message: unknown): message is PongMessage {
  return typeOf(message) === 'pong'
}

function typeOf(message: unknown): unknown {
  return typeof message === 'object' && message !== null ? (message as { type?: unknown }).type : undefined
}
