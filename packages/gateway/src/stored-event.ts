import type { Uploaded } from '@tributary/client'
import type { Happening } from './access/event-teller.ts'

/** The same upload is one happening, whoever tells it and how often. */
export function storedEvent({ key, generation, sizeBytes, mediaType }: Uploaded, name: string): Happening {
  const { application, user, file } = key
  const facts = { user, file, generation, name, sizeBytes, mediaType }
  return { event: 'stored', application, facts, identity: generation }
}
