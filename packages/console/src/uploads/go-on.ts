/** Goes on with uploads of an earlier visit whose files the browser can find again. */
import { texts } from '../settings.ts'
import { fileOf } from './handles.ts'
import { keptHandle } from './kept-files.ts'
import type { Upload } from './queue.ts'
import { queue } from './uploads.ts'

/** To be called for a click: the browser asks whether the files may be read, once for all of them. */
export async function goOn(uploads: readonly Upload[]): Promise<void> {
  for (const upload of uploads) {
    try {
      const handle = await keptHandle(upload)
      if (!handle) queue.mislay(upload.id, texts.value.fileGone)
      else if (await isPermitted(handle)) queue.resume(upload.id, await fileOf(handle))
      else queue.mislay(upload.id, texts.value.fileNotPermitted)
    } catch {
      queue.mislay(upload.id, texts.value.fileGone)
    }
  }
}

async function isPermitted(handle: FileSystemFileHandle): Promise<boolean> {
  const mode = 'read'
  if ((await handle.queryPermission?.({ mode })) === 'granted') return true
  return (await handle.requestPermission?.({ mode })) === 'granted'
}
