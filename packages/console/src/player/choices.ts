/**
 * Lists of qualities and sound tracks, in the shape in which the player's menus look for them on the element that plays
 * (as browsers have them for sound, and as is proposed for qualities).
 */

export interface Rendition {
  id: string
  width: number
  height: number
  bitrate: number
}

/** @param select  index of the chosen one; -1: by the state of the line. */
export class Renditions extends EventTarget {
  readonly [index: number]: Rendition
  readonly #select: (index: number) => void
  #all: readonly Rendition[] = []
  #selected = -1

  constructor(select: (index: number) => void) {
    super()
    this.#select = select
  }

  get length(): number {
    return this.#all.length
  }

  get selectedIndex(): number {
    return this.#selected
  }

  set selectedIndex(index: number) {
    if (index === this.#selected) return
    this.#selected = index
    this.#select(index)
    this.dispatchEvent(new Event('change'))
  }

  offer(all: readonly Rendition[]): void {
    const own = this as unknown as Record<number, Rendition>
    this.#all.forEach((_, index) => delete own[index])
    this.#all = all
    all.forEach((rendition, index) => (own[index] = rendition))
    this.dispatchEvent(new Event('addrendition'))
  }

  [Symbol.iterator](): Iterator<Rendition> {
    return this.#all[Symbol.iterator]()
  }
}

export interface Sound {
  readonly id: string
  readonly kind: string
  readonly label: string
  readonly language: string
  enabled: boolean
}

export class Sounds extends EventTarget {
  readonly #select: (index: number) => void
  #all: readonly Sound[] = []

  constructor(select: (index: number) => void) {
    super()
    this.#select = select
  }

  get length(): number {
    return this.#all.length
  }

  offer(all: readonly Omit<Sound, 'enabled'>[], enabled: number): void {
    let current = enabled
    this.#all = all.map((sound, index) => {
      const isOn = (): boolean => index === current
      return {
        ...sound,
        get enabled() {
          return isOn()
        },
        set enabled(on: boolean) {
          if (!on || isOn()) return
          current = index
          select(index)
        }
      }
    })
    const select = (index: number): void => {
      this.#select(index)
      this.dispatchEvent(new Event('change'))
    }
    this.dispatchEvent(new Event('addtrack'))
  }

  [Symbol.iterator](): Iterator<Sound> {
    return this.#all[Symbol.iterator]()
  }
}
