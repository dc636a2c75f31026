/** One line on the terminal that shows how far a transfer is, how fast it goes and how long it will take. */
import { bytesText, durationText, visibleText } from './quantity-text.ts'

const REDRAW_MS = 100
/** The rate is that of the last seconds, so that it follows the network. */
const WINDOW_MS = 5_000
const BAR_COLUMNS_MAX = 30

export interface ProgressOutput {
  isTty: boolean
  columns(): number
  write(text: string): void
}

export class ProgressBar {
  readonly #label: string
  readonly #out: ProgressOutput
  readonly #nowMs: () => number
  #marks: { atMs: number; bytes: number }[] = []
  #drawnMs = -Infinity
  #shown = false

  constructor(label: string, out: ProgressOutput, nowMs: () => number = () => performance.now()) {
    this.#label = visibleText(label)
    this.#out = out
    this.#nowMs = nowMs
  }

  /** Draws at most ten times a second; nothing where nobody watches. */
  update(doneBytes: number, totalBytes: number | undefined): void {
    if (!this.#out.isTty) return
    const nowMs = this.#nowMs()
    if (nowMs - this.#drawnMs < REDRAW_MS) return
    this.#drawnMs = nowMs
    this.#marks.push({ atMs: nowMs, bytes: doneBytes })
    while (this.#marks.length > 2 && nowMs - this.#marks[0]!.atMs > WINDOW_MS) this.#marks.shift()
    this.#shown = true
    this.#out.write(`\r\u001B[2K${this.line(doneBytes, totalBytes)}`)
  }

  line(doneBytes: number, totalBytes: number | undefined): string {
    const first = this.#marks[0] ?? { atMs: 0, bytes: 0 }
    const last = this.#marks.at(-1) ?? first
    const spanMs = last.atMs - first.atMs
    const bytesPerMs = spanMs > 0 ? (last.bytes - first.bytes) / spanMs : 0
    const rate = bytesPerMs > 0 ? `  ${bytesText(bytesPerMs * 1000)}/s` : ''
    if (totalBytes === undefined) return this.#cut(`${this.#label}  ${bytesText(doneBytes)}${rate}`)
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes)
    const left = bytesPerMs > 0 ? `  ${durationText((totalBytes - doneBytes) / bytesPerMs)} left` : ''
    const numbers = `${String(Math.floor(share * 100)).padStart(3)} %  ${bytesText(doneBytes)} of ${bytesText(totalBytes)}${rate}${left}`
    const columns = Math.min(BAR_COLUMNS_MAX, this.#out.columns() - this.#label.length - numbers.length - 6)
    if (columns < 8) return this.#cut(`${this.#label}  ${numbers}`)
    const full = Math.round(share * columns)
    return `${this.#label}  [${'#'.repeat(full)}${'.'.repeat(columns - full)}]  ${numbers}`
  }

  clear(): void {
    if (this.#shown) this.#out.write('\r\u001B[2K')
    this.#shown = false
  }

  #cut(text: string): string {
    const columns = this.#out.columns()
    return text.length < columns ? text : text.slice(0, Math.max(0, columns - 1))
  }
}
