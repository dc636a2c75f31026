// The HTTP API, as this page needs it. Failures are Errors with `status` (0: no answer) and a message for people.

export class ApiError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

const TOKEN_KEY = 'tributary-write-token'

export class Api {
  #place
  #askToken

  /** @param askToken  (wrong: boolean) => Promise<string | undefined> */
  constructor(place, askToken) {
    this.#place = place
    this.#askToken = askToken
  }

  get #folder() {
    return `/files/${encodeURIComponent(this.#place.application)}/${encodeURIComponent(this.#place.user)}`
  }

  async list(after, limit) {
    const query = new URLSearchParams({ after, limit: String(limit) })
    const response = await fetch(`${this.#folder}?${query}`).catch(() => undefined)
    if (!response) throw new ApiError(0, '')
    if (!response.ok) throw await failureOf(response)
    return response.json()
  }

  /** Status of the file now; 0: no answer. */
  async statusOf(url) {
    const response = await fetch(url, { headers: { range: 'bytes=0-0' }, cache: 'no-store' }).catch(
      () => undefined
    )
    await response?.arrayBuffer().catch(() => undefined)
    return response?.status ?? 0
  }

  async delete(url) {
    return this.#withToken(async headers => {
      const response = await fetch(url, { method: 'DELETE', headers }).catch(() => undefined)
      if (!response) throw new ApiError(0, '')
      if (!response.ok) throw await failureOf(response)
    })
  }

  /** XMLHttpRequest, because fetch does not tell how much has left. */
  upload(file, { signal, onProgress }) {
    return this.#withToken(headers => {
      const url = `${this.#folder}?name=${encodeURIComponent(file.name)}`
      return new Promise((resolve, reject) => {
        signal.throwIfAborted() // cancelled while the token was asked for
        const request = new XMLHttpRequest()
        request.open('POST', url)
        for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
        request.setRequestHeader('content-type', file.type || 'application/octet-stream')
        request.upload.onprogress = event => onProgress(event.loaded)
        request.onload = () => {
          const answer = parse(request.responseText)
          if (request.status === 201) resolve(answer)
          else reject(new ApiError(request.status, answer?.detail ?? `HTTP ${request.status}`))
        }
        request.onerror = () => reject(new ApiError(0, ''))
        request.onabort = () => reject(signal.reason)
        signal.addEventListener('abort', () => request.abort(), { once: true })
        request.send(file)
      })
    })
  }

  async #withToken(work) {
    for (let wrong = false; ; wrong = true) {
      const token = sessionStorage.getItem(TOKEN_KEY)
      try {
        return await work(token ? { authorization: `Bearer ${token}` } : {})
      } catch (error) {
        if (error.status !== 401) throw error
        // Another upload may have asked meanwhile.
        if (sessionStorage.getItem(TOKEN_KEY) !== token) continue
        const given = await this.#askToken(wrong && token !== null)
        if (!given) throw error
        sessionStorage.setItem(TOKEN_KEY, given)
      }
    }
  }
}

export async function readAbout() {
  const response = await fetch('/about.json')
  if (!response.ok) throw await failureOf(response)
  return response.json()
}

async function failureOf(response) {
  const answer = parse(await response.text().catch(() => ''))
  return new ApiError(response.status, answer?.detail ?? `HTTP ${response.status}`)
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
