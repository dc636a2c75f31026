/** One request per file, for a server without resumable uploads. XMLHttpRequest, because fetch does not tell how much has left. */
import { errorOf } from '../api/http.ts'
import { encodeId } from '../router.ts'
import { texts } from '../settings.ts'
import type { Sender } from './queue.ts'

export const plainSender: Sender<File> = {
  send(file, { application, user }, reports) {
    const request = new XMLHttpRequest()
    request.open('POST', `/files/${application}/${encodeId(user)}?name=${encodeURIComponent(file.name)}`)
    request.setRequestHeader('content-type', file.type || 'application/octet-stream')
    request.upload.onprogress = event => reports.progress(event.loaded)
    request.onload = () => {
      if (request.status === 201) reports.stored()
      else reports.failed(errorOf(request.status, request.responseText).message, false)
    }
    request.onerror = () => reports.failed(texts.value.offline, true)
    request.send(file)
    return { pause: () => request.abort(), abandon: () => request.abort() }
  },
  forget() {}
}
