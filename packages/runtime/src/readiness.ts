export interface ReadinessReport {
  ready: boolean
  /** By name; `reason` is in words for people. Where the condition holds it is empty, or what to know all the same. */
  conditions: Record<string, { ok: boolean; reason: string }>
}

/**
 * Whether a server should get work: a set of named conditions, each true or false with a reason in words.
 * Ready is when all hold; without any it is ready, so name those that matter before the listener opens.
 */
export class Readiness {
  readonly #conditions = new Map<string, { ok: boolean; reason: string }>()
  #listener: ((report: ReadinessReport) => void) | undefined

  /** @param names  conditions that do not hold yet. */
  constructor(names: readonly string[] = []) {
    for (const name of names) this.#conditions.set(name, { ok: false, reason: 'not checked yet' })
  }

  set(name: string, ok: boolean, reason = ''): void {
    const before = this.#conditions.get(name)
    this.#conditions.set(name, { ok, reason: ok ? '' : reason || 'no reason given' })
    if (before?.ok !== ok) this.#listener?.(this.report())
  }

  /** A condition that holds, and what to know of it all the same; an empty text: nothing. */
  note(name: string, text: string): void {
    this.set(name, true)
    this.#conditions.set(name, { ok: true, reason: text })
  }

  /** Takes a condition away, as that of a store path which was removed. */
  remove(name: string): void {
    if (this.#conditions.delete(name)) this.#listener?.(this.report())
  }

  get ready(): boolean {
    for (const condition of this.#conditions.values()) if (!condition.ok) return false
    return true
  }

  /** One listener, called when a condition changes between true and false. */
  onChange(listener: (report: ReadinessReport) => void): void {
    this.#listener = listener
  }

  report(): ReadinessReport {
    const conditions: ReadinessReport['conditions'] = {}
    for (const [name, { ok, reason }] of this.#conditions) conditions[name] = { ok, reason }
    return { ready: this.ready, conditions }
  }
}
