/** Files that the browser can find again: whoever chose them, by a dialog or by dropping them, need not do so a second time. */

/** A drop is not held up for longer. */
const HANDLE_MS_MAX = 1_000

const handles = new WeakMap<File, FileSystemFileHandle>()

/** undefined: the browser gave none. */
export function handleOf(file: File): FileSystemFileHandle | undefined {
  return handles.get(file)
}

/** @throws {DOMException} NotFoundError: it is gone. NotAllowedError: nobody has permitted it. */
export async function fileOf(handle: FileSystemFileHandle): Promise<File> {
  const file = await handle.getFile()
  handles.set(file, handle)
  return file
}

/** What was dropped, without folders: they come as entries without content, and would fail as files. */
export async function droppedFiles({ items, files }: DataTransfer): Promise<File[]> {
  // Both lists are empty as soon as the event is over.
  const dropped = [...files].map((file, index) => {
    const item = items[index]
    return {
      file,
      isFolder: item?.webkitGetAsEntry()?.isDirectory === true,
      handle: item?.getAsFileSystemHandle?.().catch(() => null)
    }
  })
  const found = dropped.filter(({ isFolder }) => !isFolder)
  const all = Promise.all(
    found.map(async ({ file, handle }) => {
      const given = await handle
      if (given?.kind === 'file') handles.set(file, given as FileSystemFileHandle)
    })
  )
  await Promise.race([all, new Promise(resolve => setTimeout(resolve, HANDLE_MS_MAX))])
  return found.map(({ file }) => file)
}

/**
 * Asks for files by the dialog whose files can be found again.
 *
 * @returns undefined: the browser has none, or it may not be shown here.
 */
export async function pickFiles(): Promise<File[] | undefined> {
  if (!window.showOpenFilePicker) return undefined
  try {
    const picked = await window.showOpenFilePicker({ multiple: true })
    return await Promise.all(picked.map(fileOf))
  } catch (error) {
    // Whoever closes the dialog wants nothing else.
    return error instanceof DOMException && error.name === 'AbortError' ? [] : undefined
  }
}
