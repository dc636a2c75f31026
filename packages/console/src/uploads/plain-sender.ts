/** One request per file. XMLHttpRequest, because fetch does not tell how much has left. */
import { errorOf } from '../api/http.ts'
import { askForToken, keptToken } from '../api/sign-in.ts'
import { encodeId } from '../router.ts'
import { texts } from '../settings.ts'
import type { Sender, SendReports } from './queue.ts'

export const plainSender: Sender<File> = {
  send(file, { application, user }, reports) {
    const abort = new AbortController()
    const url = `/files/${application}/${encodeId(user)}?name=${encodeURIComponent(file.name)}`
    const run = async (): Promise<void> => {
      for (let wrong = false; !abort.signal.aborted; wrong = true) {
        const token = keptToken()
        const { status, text } = await post(url, file, token, abort.signal, reports)
        if (status === 201) return reports.stored()
        if (status === 401 && !abort.signal.aborted && (await askForToken(token, wrong))) continue
        return reports.failed(status === 0 ? texts.value.offline : errorOf(status, text).message, false)
      }
    }
    void run()
    return { pause: () => abort.abort(), abandon: () => abort.abort() }
  },
  forget() {}
}

function post(
  url: string,
  file: File,
  token: string,
  signal: AbortSignal,
  reports: SendReports
): Promise<{ status: number; text: string }> {
  return new Promise(resolve => {
    const request = new XMLHttpRequest()
    const end = (): void => resolve({ status: request.status, text: request.responseText })
    request.open('POST', url)
    if (token !== '') request.setRequestHeader('authorization', `Bearer ${token}`)
    request.setRequestHeader('content-type', file.type || 'application/octet-stream')
    request.upload.onprogress = event => reports.progress(event.loaded)
    request.onload = end
    request.onerror = end
    request.onabort = end
    signal.addEventListener('abort', () => request.abort(), { once: true })
    request.send(file)
  })
}
