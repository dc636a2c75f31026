/** Sends by the resumable protocol: what the server has is never sent again, whatever happened meanwhile. */
import type { DetailedError } from 'tus-js-client'
import { errorOf } from '../api/http.ts'
import { askToLogIn } from '../api/sign-in.ts'
import { texts } from '../settings.ts'
import { forgetBegun, keepBegun } from './begun.ts'
import type { Sender } from './queue.ts'

const ENDPOINT = '/uploads'
/** The server is busy with the same upload (its connection of before has not ended yet), or has no place right now. */
const BUSY: ReadonlySet<number> = new Set([0, 408, 409, 423, 425, 429])

export const tusSender: Sender<File> = {
  send(file, { application, user, reference }, reports) {
    let stopped = false
    let abandoned = false
    let running: InstanceType<typeof import('tus-js-client').Upload> | undefined
    const begin = async (): Promise<void> => {
      const { Upload } = await import('tus-js-client')
      if (stopped) return
      const upload = new Upload(file, {
        endpoint: ENDPOINT,
        uploadUrl: reference ?? null,
        metadata: {
          filename: file.name,
          filetype: file.type || 'application/octet-stream',
          app: application,
          user
        },
        // Both are the queue's: it goes on by itself, and knows what an earlier visit began.
        retryDelays: null,
        storeFingerprintForResuming: false,
        onUploadUrlAvailable: () => {
          const url = upload.url!
          keepBegun({
            url,
            name: file.name,
            sizeBytes: file.size,
            lastModified: file.lastModified,
            application,
            user
          })
          if (abandoned) void terminate(url)
          else reports.known(url)
        },
        onProgress: sentBytes => reports.progress(sentBytes),
        onSuccess: () => {
          if (upload.url) forgetBegun(upload.url)
          reports.stored()
        },
        onError: error => void fail(error)
      })
      running = upload
      upload.start()
    }
    const fail = async (error: Error | DetailedError): Promise<void> => {
      if (stopped) return
      const response = 'originalResponse' in error ? error.originalResponse : undefined
      const status = response?.getStatus() ?? 0
      if (status === 401 && (await askToLogIn())) return begin()
      if ((status === 404 || status === 410) && reference !== undefined) {
        // It expired on the server: from the beginning, then.
        forgetBegun(reference)
        reference = undefined
        return begin()
      }
      const why = status === 0 ? texts.value.offline : errorOf(status, response!.getBody()).message
      reports.failed(why, BUSY.has(status) || (status >= 500 && status !== 507))
    }
    begin().catch(() => reports.failed(texts.value.offline, true))
    return {
      pause: () => {
        stopped = true
        void running?.abort(false)
      },
      abandon: () => {
        stopped = true
        abandoned = true
        const url = running?.url ?? reference
        void running?.abort(false)
        if (url) void terminate(url)
      }
    }
  },
  forget: url => void terminate(url)
}

/** Whether it worked does not matter to anybody: what is left expires. */
async function terminate(url: string): Promise<void> {
  forgetBegun(url)
  const { Upload } = await import('tus-js-client')
  await Upload.terminate(url, { retryDelays: null }).catch(() => {})
}
