import { storedEvent, type Happening } from '@tributary/calls'
import type { Uploaded } from '@tributary/client'

/** An upload that a gateway took. */
export function uploadedEvent({ key, generation, sizeBytes, mediaType }: Uploaded, name: string): Happening {
  return storedEvent({ ...key, generation, sizeBytes, mediaType, name })
}
