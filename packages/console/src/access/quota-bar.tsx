/** What is used, as a part of what may be; a figure alone where there is no bound. */
import { formatShare } from '../format.ts'
import { language, texts } from '../settings.ts'
import { shareOf } from './quota-figures.ts'

export interface QuotaBarProps {
  name: string
  /** Whose. */
  of: string
  used: number
  /** null: no bound. */
  most: number | null
  format(figure: number): string
}

/** From here on it is time to do something. */
const HIGH_SHARE = 0.9

export function QuotaBar({ name, of, used, most, format }: QuotaBarProps) {
  const t = texts.value
  const text =
    most === null
      ? t.quotaUnbounded(format(used))
      : t.quotaUsed(format(used), format(most), formatShare(used / Math.max(1, most), language.value))
  return (
    <div class="quota-bar">
      <p class="facts">{name}</p>
      {most !== null && (
        <meter
          min={0}
          max={1}
          high={HIGH_SHARE}
          value={shareOf(used, most)}
          aria-label={`${name}, ${of}: ${text}`}
        />
      )}
      <p>{text}</p>
    </div>
  )
}
