/** Files may be dropped anywhere; while they hang over the page it says where they go. */
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { place } from '../library/library.ts'
import { Icon } from '../parts/icon.tsx'
import { texts } from '../settings.ts'
import { droppedFiles } from './handles.ts'
import { uploadFiles } from './uploads.ts'

const isOver = signal(false)

export function DropZone() {
  useEffect(() => {
    let depth = 0
    const listen = (
      name: 'dragenter' | 'dragleave' | 'dragover' | 'drop',
      work: (event: DragEvent) => void
    ) => {
      const onEvent = (event: DragEvent): void => {
        if (event.dataTransfer?.types.includes('Files')) work(event)
      }
      addEventListener(name, onEvent)
      return () => removeEventListener(name, onEvent)
    }
    const ends = [
      listen('dragenter', () => {
        depth++
        isOver.value = true
      }),
      listen('dragleave', () => {
        depth = Math.max(0, depth - 1)
        isOver.value = depth > 0
      }),
      listen('dragover', event => {
        event.preventDefault()
        event.dataTransfer!.dropEffect = 'copy'
      }),
      listen('drop', event => {
        event.preventDefault()
        depth = 0
        isOver.value = false
        void droppedFiles(event.dataTransfer!).then(uploadFiles)
      })
    ]
    return () => ends.forEach(end => end())
  }, [])
  if (!isOver.value) return null
  const { application, user } = place.value
  return (
    <div class="drop-zone">
      <div>
        <Icon name="up" large />
        <p class="drop-title">{texts.value.dropHere}</p>
        <p>{texts.value.dropInto(application, user)}</p>
      </div>
    </div>
  )
}
