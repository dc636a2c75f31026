import { StringDecoder } from 'node:string_decoder'

/** A child that prints without line ends must not fill our memory: longer lines come in pieces of this. */
const LINE_CHARS_MAX = 64 * 1024

/** Cuts a stream of bytes into lines without their ends; pieces may break anywhere, also inside a character. */
export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8')
  readonly #onLine: (line: string) => void
  #rest = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  push(chunk: Buffer): void {
    this.#rest += this.#decoder.write(chunk)
    let start = 0
    for (let end = this.#rest.indexOf('\n'); end >= 0; end = this.#rest.indexOf('\n', start)) {
      this.#onLine(this.#rest.slice(start, this.#rest[end - 1] === '\r' ? Math.max(start, end - 1) : end))
      start = end + 1
    }
    this.#rest = this.#rest.slice(start)
    while (this.#rest.length >= LINE_CHARS_MAX) {
      this.#onLine(this.#rest.slice(0, LINE_CHARS_MAX))
      this.#rest = this.#rest.slice(LINE_CHARS_MAX)
    }
  }

  /** The stream has ended; what came after the last line end is a line too. */
  end(): void {
    const last = this.#rest + this.#decoder.end()
    this.#rest = ''
    if (last !== '') this.#onLine(last)
  }
}
