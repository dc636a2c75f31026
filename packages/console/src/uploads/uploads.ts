/** The queue of uploads of this page. */
import { signal } from '@preact/signals'
import { formatBytes } from '../format.ts'
import { loadFilms, place } from '../library/library.ts'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'
import { allBegun, findInterrupted } from './begun.ts'
import { handleOf } from './handles.ts'
import { forgetFile, keepFile, keptFiles, openPages, watchPage } from './kept-files.ts'
import { joinKept } from './kept.ts'
import { UploadQueue, type Upload } from './queue.ts'
import { tusSender } from './tus-sender.ts'

export const uploads = signal<readonly Upload[]>([])
/** The server's; none is known until it has said. */
export const uploadBytesMax = signal(Number.MAX_SAFE_INTEGER)

const STORED_SHOWN_MS = 6_000

export const queue = new UploadQueue<File>({
  sender: tusSender,
  onChange: all => (uploads.value = all),
  onStored: ({ id, name }) => {
    say(texts.value.uploaded(name))
    void loadFilms()
    // The library has it now; what failed stays until it was seen.
    setTimeout(() => queue.remove(id), STORED_SHOWN_MS)
  },
  onTaken: (upload, file) => {
    const handle = handleOf(file)
    if (handle) void keepFile(upload, handle)
  },
  onOver: upload => void forgetFile(upload),
  bytesMax: () => uploadBytesMax.value,
  tooLarge: () => texts.value.tooLarge(formatBytes(uploadBytesMax.value, language.value)),
  anotherFile: () => texts.value.anotherFile,
  clock: {
    nowMs: () => performance.now(),
    after: (ms, work) => {
      const timer = setTimeout(work, ms)
      return () => clearTimeout(timer)
    }
  }
})

export function uploadFiles(files: readonly File[]): void {
  if (files.length > 0) queue.add(files, place.value)
}

/** What an earlier visit left. */
async function findLeft(): Promise<void> {
  const [interrupted, kept] = await Promise.all([findInterrupted(), keptFiles()])
  const answered = new Set(interrupted.map(({ reference }) => reference))
  const unsettled = allBegun().filter(({ url }) => !answered.has(url))
  const left = joinKept(interrupted, unsettled, kept, await openPages())
  if (left.length > 0) queue.addInterrupted(left)
}

export function watchUploads(): void {
  watchPage()
  void findLeft()
  addEventListener('online', () => queue.online())
  addEventListener('offline', () => queue.offline())
  addEventListener('beforeunload', event => {
    if (queue.isBusy) event.preventDefault()
  })
}
