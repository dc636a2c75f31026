/** How far films were watched, so that each goes on where it was left. Kept in this browser only. */

/** Before it there is nothing to go back to. */
const BEGINNING_S = 10
/** Behind it only the end titles are left. */
const SEEN_SHARE = 0.95
const POSITIONS_MAX = 300

export interface Store {
  read(): string
  write(text: string): void
}

type Kept = [generation: string, second: number]

export class Positions {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** @returns seconds from the beginning; 0: from the beginning. */
  of(generation: string): number {
    return this.#all().find(([kept]) => kept === generation)?.[1] ?? 0
  }

  note(generation: string, second: number, durationS: number): void {
    const others = this.#all().filter(([kept]) => kept !== generation)
    const worthIt = second >= BEGINNING_S && durationS > 0 && second < durationS * SEEN_SHARE
    if (worthIt) others.push([generation, Math.floor(second)])
    this.#store.write(others.length === 0 ? '' : JSON.stringify(others.slice(-POSITIONS_MAX)))
  }

  #all(): Kept[] {
    try {
      const kept: unknown = JSON.parse(this.#store.read() || '[]')
      return Array.isArray(kept) ? kept.filter(isKept) : []
    } catch {
      return []
    }
  }
}

function isKept(value: unknown): value is Kept {
  return Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'number' && value[1] >= 0
}
