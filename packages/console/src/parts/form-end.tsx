/** What every form of a dialog ends with: what went wrong, and the ways out. */
import { texts } from '../settings.ts'

export interface FormEndProps {
  trouble: string
  /** On the button that does it. */
  submit: string
  disabled?: boolean
  /** undefined: there is nothing to go back to. */
  onCancel: (() => void) | undefined
}

export function FormEnd({ trouble, submit, disabled = false, onCancel }: FormEndProps) {
  return (
    <>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      <div class="row end">
        {onCancel && (
          <button type="button" onClick={onCancel}>
            {texts.value.cancel}
          </button>
        )}
        <button type="submit" class="primary" disabled={disabled}>
          {submit}
        </button>
      </div>
    </>
  )
}
