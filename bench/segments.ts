/** Segments over HTTP: as fast as they come, or as viewers take them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SegmentsTask, Target, TaskResult, ViewersTask } from './task.ts'
import { closeWire, openWire, WrongAnswerError, type Wire } from './wire.ts'

/** One request after another on each connection, for a time. */
export async function segments(task: SegmentsTask): Promise<TaskResult> {
  const wires = await Promise.all(Array.from({ length: task.connections }, () => openWire(task.target)))
  const startMs = performance.now()
  let requests = 0
  let bytes = 0
  try {
    await Promise.all(
      wires.map(async (wire, connection) => {
        for (let round = connection; performance.now() - startMs < task.durationMs; round++) {
          const got = await get(wire, task.target, task.paths[round % task.paths.length]!)
          bytes += got
          requests++
        }
      })
    )
    return { requests, bytes, elapsedMs: performance.now() - startMs }
  } finally {
    for (const wire of wires) closeWire(wire)
  }
}

/**
 * Viewers of a film each: every segment is asked for when the one before begins to play, and is late if it is not whole
 * when that one ends.
 *
 * @returns requests: how many segments came late
 */
export async function viewers({ target, films, segmentMs, rounds }: ViewersTask): Promise<TaskResult> {
  let late = 0
  let bytes = 0
  const startMs = performance.now()
  await Promise.all(
    films.map(async (paths, viewer) => {
      const wire = await openWire(target)
      try {
        const beginsMs = startMs + (viewer * segmentMs) / films.length
        for (let round = 0; round < rounds; round++) {
          await sleep(Math.max(0, beginsMs + round * segmentMs - performance.now()))
          for (const path of paths) {
            const got = await get(wire, target, path.replace('#', String(round)))
            bytes += got
          }
          if (performance.now() > beginsMs + (round + 1) * segmentMs) late++
        }
      } finally {
        closeWire(wire)
      }
    })
  )
  return { requests: late, bytes, elapsedMs: performance.now() - startMs }
}

/** @returns the bytes of the content. */
function get(wire: Wire, { port }: Target, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let head = ''
    let leftBytes = -1
    let contentBytes = 0
    wire.fail = reject
    wire.receive = bytes => {
      let taken = bytes.byteLength
      if (leftBytes < 0) {
        const before = head.length
        head += bytes.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        const length = /^content-length: (\d+)/im.exec(head.slice(0, end))?.[1]
        if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) {
          return reject(new WrongAnswerError(`${path}: ${head.slice(0, 400)}`))
        }
        contentBytes = Number(length)
        leftBytes = contentBytes
        taken -= end + 4 - before
      }
      leftBytes -= taken
      if (leftBytes === 0) resolve(contentBytes)
    }
    wire.socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
  })
}
