/** Sends by the resumable protocol: what the server has is never sent again, whatever happened meanwhile. */
import type { DetailedError, Upload as TusUpload } from 'tus-js-client'
import { errorOf } from '../api/http.ts'
import { askToLogIn } from '../api/sign-in.ts'
import { texts } from '../settings.ts'
import { forgetBegun, keepBegun } from './begun.ts'
import type { Sender } from './queue.ts'

const ENDPOINT = '/uploads'
/** The server is busy with the same upload (its connection of before has not ended yet), or has no place right now. */
const BUSY: ReadonlySet<number> = new Set([0, 408, 409, 423, 425, 429])

/** A connection on which nothing moves for so long is taken to be dead: over bad Wi-Fi nobody says that it is. */
const STALL_MS = 30_000
/** All has left, and is being made durable; a large film takes its time. */
const STORING_MS_MAX = 5 * 60_000

export const tusSender: Sender<File> = {
  send(file, { application, user, reference }, reports) {
    let stopped = false
    let abandoned = false
    let stalled: ReturnType<typeof setTimeout> | undefined
    const watch = (sentBytes: number): void => {
      clearTimeout(stalled)
      if (stopped) return
      const ms = sentBytes >= file.size ? STORING_MS_MAX : STALL_MS
      stalled = setTimeout(() => {
        stop()
        reports.failed(texts.value.offline, true)
      }, ms)
    }
    const stop = (): void => {
      stopped = true
      clearTimeout(stalled)
      void running?.abort(false)
    }
    let running: TusUpload | undefined
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
        onProgress: sentBytes => {
          watch(sentBytes)
          reports.progress(sentBytes)
        },
        onSuccess: () => {
          clearTimeout(stalled)
          if (upload.url) forgetBegun(upload.url)
          reports.stored()
        },
        onError: error => void fail(error)
      })
      running = upload
      watch(0)
      upload.start()
    }
    const fail = async (error: Error | DetailedError): Promise<void> => {
      clearTimeout(stalled)
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
      pause: stop,
      abandon: () => {
        abandoned = true
        stop()
        const url = running?.url ?? reference
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
