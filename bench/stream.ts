/** Large files over the wire, whole or held back on purpose. */
import { crc32 } from 'node:zlib'
import {
  COMMANDS,
  encodeDownload,
  encodeFileKey,
  encodeFrame,
  encodeHeader,
  encodeUploadHead,
  HEADER_BYTES,
  UPLOAD_HEAD_BYTES
} from '@tributary/protocol'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  APPLICATION,
  bigCrc32,
  BIG_FILE,
  bigPiece,
  hotFile,
  HOT_FILES,
  smallContent,
  USER
} from './content.ts'
import type { HoldTask, PrepareTask, RemoveTask, StreamTask, Target, TaskResult } from './task.ts'
import { closeWire, openWire, WrongAnswerError, type Wire } from './wire.ts'

const SEND_BYTES = 1024 * 1024
/** Compared at the start of each chunk where not every byte is. */
const SAMPLE_BYTES = 16
/** A held transfer moves one chunk in this time. */
const HOLD_STEP_MS = 250
const HOLD_BUFFER_BYTES = 16 * 1024

export async function stream(task: StreamTask): Promise<TaskResult> {
  const wires = await Promise.all(Array.from({ length: task.connections }, () => openWire(task.target)))
  const startMs = performance.now()
  try {
    await Promise.all(
      wires.map((wire, at) =>
        task.kind in SENDERS
          ? SENDERS[task.kind as Sent](wire, `${task.file}-${at}`, task.bytes)
          : download(wire, task)
      )
    )
    const elapsedMs = performance.now() - startMs
    return { requests: task.connections, bytes: task.bytes * task.connections, elapsedMs }
  } finally {
    for (const wire of wires) closeWire(wire)
  }
}

/** Stores the hot files and the large one, and reads both back. */
export async function prepare({ target, bigBytes }: PrepareTask): Promise<TaskResult> {
  const startMs = performance.now()
  const wire = await openWire(target)
  try {
    for (let index = 0; index < HOT_FILES; index++) {
      const content = smallContent(index)
      const head = encodeUploadHead({ key: keyOf(hotFile(index)), sizeBytes: content.byteLength })
      await success(wire, [encodeFrame(COMMANDS.UPLOAD.code, head, content)])
      const request = { key: keyOf(hotFile(index)), offset: 0, sizeBytes: 0 }
      const got = await success(wire, [encodeFrame(COMMANDS.DOWNLOAD.code, encodeDownload(request))])
      if (!got.equals(content)) throw new WrongAnswerError(`${hotFile(index)} came back with other bytes`)
    }
    if (bigBytes > 0) {
      await upload(wire, BIG_FILE, bigBytes)
      const whole = { connections: 1, bytes: bigBytes, verify: true }
      await download(wire, { kind: 'download', target, ...whole })
    }
  } finally {
    closeWire(wire)
  }
  return { requests: 2 * HOT_FILES, bytes: 2 * bigBytes, elapsedMs: performance.now() - startMs }
}

export async function remove({ target, file, bytes }: RemoveTask): Promise<TaskResult> {
  const startMs = performance.now()
  const wire = await openWire(target)
  try {
    const size = await success(wire, [encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(keyOf(file)))])
    if (size.readBigInt64BE() !== BigInt(bytes)) throw new WrongAnswerError(`${file} has another size`)
    await success(wire, [encodeFrame(COMMANDS.DELETE.code, encodeFileKey(keyOf(file)))])
  } finally {
    closeWire(wire)
  }
  return { requests: 2, bytes: 0, elapsedMs: performance.now() - startMs }
}

export async function hold(task: HoldTask): Promise<TaskResult> {
  const { target, connections, direction } = task
  const startMs = performance.now()
  const wires: Wire[] = []
  let moved = 0
  try {
    let failure: Error | undefined
    for (let at = 0; at < connections; at++) {
      const wire = await openWire(target, HOLD_BUFFER_BYTES)
      wires.push(wire)
      wire.fail = error => (failure ??= error)
      if (direction === 'download' || direction === 'http-download') {
        wire.socket.write(downloadRequest(direction, target))
        wire.receive = bytes => {
          moved += bytes.byteLength
          wire.socket.pause()
          setTimeout(() => wire.socket.resume(), HOLD_STEP_MS)
        }
      } else {
        const head = uploadHead(`held-${startMs.toFixed(0)}-${at}`, task.bytes)
        wire.socket.write(direction === 'upload' ? head : httpUploadHead(at, target, task.bytes))
        let offset = 0
        const send = (): void => {
          if (wire.socket.destroyed) return
          const piece = bigPiece(offset, 4 * HOLD_BUFFER_BYTES)
          offset += piece.byteLength
          moved += piece.byteLength
          wire.socket.write(piece, () => setTimeout(send, HOLD_STEP_MS))
        }
        send()
      }
    }
    await sleep(task.holdMs)
    if (failure) throw failure
    return { requests: connections, bytes: moved, elapsedMs: performance.now() - startMs }
  } finally {
    for (const wire of wires) closeWire(wire)
  }
}

function keyOf(file: string) {
  return { application: APPLICATION, user: USER, file }
}

/** Sends parts of a request; the body of its success reply, collected. */
function success(wire: Wire, parts: readonly Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0)
    wire.fail = reject
    wire.receive = bytes => {
      got = Buffer.concat([got, bytes])
      if (got.byteLength < HEADER_BYTES) return
      if (got.byteLength < HEADER_BYTES + got.readUInt32BE(4)) return
      if (got[9] === 0) resolve(got.subarray(HEADER_BYTES))
      else reject(new WrongAnswerError(got.toString('utf8', HEADER_BYTES + 2)))
    }
    for (const part of parts) wire.socket.write(part)
  })
}

async function upload(wire: Wire, file: string, bytes: number): Promise<void> {
  const done = success(wire, [uploadHead(file, bytes)])
  await Promise.race([done, sendContent(wire, bytes)])
  await done
}

/** In one PUT. */
async function put(wire: Wire, file: string, bytes: number): Promise<void> {
  const done = httpAnswer(
    wire,
    [`PUT /files/${APPLICATION}/${USER}/${file}`],
    { 'Content-Length': bytes },
    201
  )
  await Promise.race([done, sendContent(wire, bytes)])
  await done
}

/** Begun, and sent whole, as a browser does. */
async function putResumable(wire: Wire, file: string, bytes: number): Promise<void> {
  const values = { app: APPLICATION, user: USER, file }
  const metadata = Object.entries(values).map(
    ([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`
  )
  const begin = { 'Content-Length': 0, 'Upload-Length': bytes, 'Upload-Metadata': metadata.join() }
  const begun = await httpAnswer(wire, ['POST /uploads'], { ...TUS, ...begin }, 201)
  const [, location] = /^location: (.*)$/im.exec(begun) ?? []
  const append = {
    'Content-Type': 'application/offset+octet-stream',
    'Content-Length': bytes,
    'Upload-Offset': 0
  }
  const done = httpAnswer(wire, [`PATCH ${location}`], { ...TUS, ...append }, 204)
  await Promise.race([done, sendContent(wire, bytes)])
  const stored = await done
  if (!/^tributary-file:/im.test(stored)) throw new WrongAnswerError('the upload was not stored')
}

const TUS = { 'Tus-Resumable': '1.0.0' }
const SENDERS = { upload, 'http-upload': put, 'http-resumable': putResumable }
type Sent = keyof typeof SENDERS

/** Sends the head of a request. @returns the head of its answer, when that has come. */
function httpAnswer(
  wire: Wire,
  [line]: [string],
  headers: Record<string, string | number>,
  status: number
): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = ''
    wire.fail = reject
    wire.receive = bytes => {
      got += bytes.toString('latin1')
      if (!got.includes('\r\n\r\n')) return
      if (got.startsWith(`HTTP/1.1 ${status} `)) resolve(got)
      else reject(new WrongAnswerError(got))
    }
    const fields = Object.entries({ Host: '127.0.0.1', ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`
    )
    wire.socket.write(`${line} HTTP/1.1\r\n${fields.join('')}\r\n`)
  })
}

function sendContent(wire: Wire, bytes: number): Promise<void> {
  let offset = 0
  return new Promise<void>(resolve => {
    const send = (): void => {
      if (offset === bytes || wire.socket.destroyed) return resolve()
      const piece = bigPiece(offset, Math.min(SEND_BYTES, bytes - offset))
      offset += piece.byteLength
      wire.socket.write(piece, send)
    }
    // Two pieces are on their way at a time, so that the receiver never waits for the generator.
    send()
    send()
  })
}

function download(wire: Wire, task: StreamTask): Promise<void> {
  const isHttp = task.kind === 'http-download'
  return new Promise((resolve, reject) => {
    let head: Buffer | undefined = Buffer.alloc(0)
    let offset = 0
    let crc = 0
    const take = (bytes: Buffer): void => {
      const expected = bigPiece(offset, SAMPLE_BYTES)
      const sample = Math.min(SAMPLE_BYTES, bytes.byteLength)
      if (bytes.compare(expected, 0, sample, 0, sample) !== 0) {
        throw new WrongAnswerError(`wrong bytes at ${offset}`)
      }
      if (task.verify) crc = crc32(bytes, crc)
      offset += bytes.byteLength
      if (offset > task.bytes) throw new WrongAnswerError(`${offset} bytes came`)
      if (offset < task.bytes) return
      if (task.verify && crc !== bigCrc32(task.bytes)) throw new WrongAnswerError('wrong checksum')
      resolve()
    }
    wire.fail = reject
    wire.receive = bytes => {
      try {
        if (head === undefined) return take(bytes)
        head = Buffer.concat([head, bytes])
        const end = isHttp ? httpHeadEnd(head, task.bytes) : frameHeadEnd(head, task.bytes)
        if (end === undefined) return
        const rest = head.subarray(end)
        head = undefined
        if (rest.byteLength > 0) take(rest)
      } catch (error) {
        reject(error)
      }
    }
    wire.socket.write(downloadRequest(task.kind, task.target))
  })
}

function downloadRequest(kind: string, { port }: Target): Buffer {
  if (kind === 'http-download') {
    return Buffer.from(`GET /files/${BIG_FILE} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, 'latin1')
  }
  return encodeFrame(
    COMMANDS.DOWNLOAD.code,
    encodeDownload({ key: keyOf(BIG_FILE), offset: 0, sizeBytes: 0 })
  )
}

function uploadHead(file: string, bytes: number): Buffer {
  return Buffer.concat([
    encodeHeader(UPLOAD_HEAD_BYTES + bytes, COMMANDS.UPLOAD.code),
    encodeUploadHead({ key: keyOf(file), sizeBytes: bytes })
  ])
}

function httpUploadHead(at: number, { port }: Target, bytes: number): Buffer {
  const file = `held-${at}-${Date.now()}`
  return Buffer.from(
    `PUT /files/${APPLICATION}/${USER}/${file} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: ${bytes}\r\n\r\n`,
    'latin1'
  )
}

function frameHeadEnd(head: Buffer, bytes: number): number | undefined {
  if (head.byteLength < HEADER_BYTES) return undefined
  if (head[9] !== 0 || head.readBigInt64BE(0) !== BigInt(bytes)) {
    throw new WrongAnswerError(head.toString('latin1', 0, 160))
  }
  return HEADER_BYTES
}

function httpHeadEnd(head: Buffer, bytes: number): number | undefined {
  const end = head.indexOf('\r\n\r\n', 0, 'latin1')
  if (end < 0) return undefined
  const text = head.toString('latin1', 0, end).toLowerCase()
  if (!text.startsWith('http/1.1 200 ') || !text.includes(`content-length: ${bytes}`)) {
    throw new WrongAnswerError(text)
  }
  return end + 4
}
