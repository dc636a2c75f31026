import { sendContinue, type Exchange } from '../exchange.ts'
import { HttpProblem } from '../problem.ts'

/** A sender that says nothing for so long is given up. */
const SILENCE_MS = 15_000

/**
 * Short content that is needed as a whole: a picture, subtitles.
 *
 * @throws {HttpProblem} 413, 408, 400
 */
export async function readContent(exchange: Exchange, bytesMax: number): Promise<Buffer> {
  const { request } = exchange
  const tooLarge = (): HttpProblem => new HttpProblem(413, `at most ${bytesMax} bytes are taken here`)
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw tooLarge()
  sendContinue(exchange)
  const chunks: Buffer[] = []
  let bytes = 0
  const silence = setTimeout(() => request.destroy(), SILENCE_MS)
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      silence.refresh()
      bytes += chunk.byteLength
      if (bytes > bytesMax) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof HttpProblem) throw error
    throw new HttpProblem(400, 'the content broke off')
  } finally {
    clearTimeout(silence)
  }
  if (bytes === 0) throw new HttpProblem(400, 'the content is empty')
  return Buffer.concat(chunks)
}
