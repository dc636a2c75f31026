/** What the doctor says. */
export type Level = 'ok' | 'warning' | 'problem'

export interface Finding {
  level: Level
  /** Area: `store`, `database`, `clock` … */
  area: string
  /** What was looked at: `/srv/media`, `tracker 10.0.0.5:21000`. */
  subject: string
  /** What was found. */
  found: string
  /** What to do, in one sentence; '' where nothing is. */
  advice: string
}

/** Findings of one area, in the order in which they were made. */
export class Findings {
  readonly list: Finding[] = []
  readonly #area: string

  constructor(area: string) {
    this.#area = area
  }

  ok(subject: string, found: string): void {
    this.list.push({ level: 'ok', area: this.#area, subject, found, advice: '' })
  }

  warning(subject: string, found: string, advice: string): void {
    this.list.push({ level: 'warning', area: this.#area, subject, found, advice })
  }

  problem(subject: string, found: string, advice: string): void {
    this.list.push({ level: 'problem', area: this.#area, subject, found, advice })
  }
}
