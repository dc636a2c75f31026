/** How a visitor comes to a film: freely, by a signed address, or by a share link that gives them one. */

/** In front of a path; what is below it keeps it, also where a playlist names it. */
const SIGNED_PREFIX = '/signed/'
const SIGNATURE = /^[\w.~:-]{1,160}$/
const SHARE_ID = /^[a-z0-9]{1,64}$/

export interface WayIn {
  /** For every address of the film; empty: none is needed. */
  prefix: string
  /** A share that is to be opened first. */
  share: string | undefined
}

/** @param search  of the page's address. */
export function wayIn(search: string): WayIn {
  const asked = new URLSearchParams(search)
  const signature = asked.get('signature') ?? ''
  const share = asked.get('share') ?? ''
  const prefix = SIGNATURE.test(signature) ? SIGNED_PREFIX + signature : ''
  return { prefix, share: prefix === '' && SHARE_ID.test(share) ? share : undefined }
}
