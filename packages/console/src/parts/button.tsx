/** A button that is a picture; its label is read to those who do not see it, and shown to those who wait over it. */
import { Icon, type IconName } from './icon.tsx'

export interface IconButtonProps {
  icon: IconName
  label: string
  kind?: string
  disabled?: boolean
  pressed?: boolean
  onClick(): void
}

export function IconButton({ icon, label, kind = '', disabled, pressed, onClick }: IconButtonProps) {
  return (
    <button
      type="button"
      class={`icon-button ${kind}`}
      aria-label={label}
      title={label}
      disabled={disabled}
      aria-pressed={pressed}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  )
}
