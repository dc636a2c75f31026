/** Events as webhooks are told of them: the same whoever tells it. */
import { createHash, randomBytes } from 'node:crypto'
import type { DeliveryEvent, WebhookEvent } from './webhooks.ts'

export interface Happening<E extends DeliveryEvent = WebhookEvent> {
  event: E
  /** Empty: of no application in particular. */
  application: string
  /** What is said of it, as JSON. */
  facts: Readonly<Record<string, string | number | boolean>>
  /** The same text is the same happening, whoever tells it and how often. Default: it is one of its own. */
  identity?: string
}

const ID_CHARACTERS = 32
const ID_BYTES = 16

/** What `events.tell` takes. */
export function eventOf<E extends DeliveryEvent>(
  { event, application, facts, identity }: Happening<E>,
  atMs: number
): { id: string; event: E; application: string; body: string } {
  const id =
    identity === undefined
      ? randomBytes(ID_BYTES).toString('hex')
      : createHash('sha256').update(`${event} ${identity}`).digest('hex').slice(0, ID_CHARACTERS)
  const body = JSON.stringify({ id, event, at: new Date(atMs).toISOString(), application, ...facts })
  return { id, event, application, body }
}

/** A file was stored. */
export function storedEvent({
  application,
  user,
  file,
  generation,
  name,
  sizeBytes,
  mediaType
}: {
  application: string
  user: string
  file: string
  generation: string
  name: string
  sizeBytes: number
  mediaType: string
}): Happening {
  const facts = { user, file, generation, name, sizeBytes, mediaType }
  return { event: 'stored', application, facts, identity: generation }
}

/** A film was deleted for good; `trashedUntil`: it was put into the trash, which may happen to it more than once. */
export function deletedEvent(
  {
    application,
    user,
    file,
    generation
  }: { application: string; user: string; file: string; generation: string },
  trashedUntil?: string
): Happening {
  const facts = { user, file, generation, ...(trashedUntil !== undefined && { trashedUntil }) }
  return { event: 'deleted', application, facts, ...(trashedUntil === undefined && { identity: generation }) }
}
