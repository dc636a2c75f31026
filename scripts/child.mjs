// Children that are never left behind: each leads a process group of its own, so that one signal reaches all of it.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/** A terminal's Ctrl-C reaches us twice, from the terminal and through npm; within this time it is one. */
const SAME_SIGNAL_MS = 400
const PARENT_POLL_MS = 500

/** Exit code by the shell's custom: 128 + signal number for a child that a signal ended. */
export function exitCodeOf(code, signal) {
  return code ?? 128 + (constants.signals[signal] ?? 1)
}

/**
 * Runs a program to its end, with our standard streams.
 *
 * SIGINT and SIGTERM are passed on, once each; SIGHUP becomes SIGTERM, because it too asks for an orderly stop. If npm,
 * our parent, is killed, the child is told to stop as well.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, ipc?: boolean, stdin?: 'inherit' | 'ignore', timeoutMs?: number }} options
 *   `ipc`: opens a Node IPC channel, whose `disconnect` tells the child that we are gone, even by SIGKILL.
 *   `timeoutMs`: after it the child's whole group is ended, by SIGTERM and 10 s later by SIGKILL.
 * @returns {Promise<{ exitCode: number, timedOut: boolean }>}
 */
export function runToEnd(program, args, { env, cwd, ipc = false, stdin = 'inherit', timeoutMs } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = [stdin, 'inherit', 'inherit', ...(ipc ? ['ipc'] : [])]
    const child = spawn(program, args, { env, cwd, stdio, detached: true })
    let timedOut = false
    let killTimer
    const signalGroup = signal => {
      try {
        process.kill(-child.pid, signal)
      } catch (error) {
        if (error.code !== 'ESRCH') throw error
      }
    }
    const lastMs = new Map()
    const passOn = signal => {
      const nowMs = performance.now()
      if (nowMs - (lastMs.get(signal) ?? -Infinity) < SAME_SIGNAL_MS) return
      lastMs.set(signal, nowMs)
      child.kill(signal) // the child itself: it stops its own children in order
    }
    // a second signal means "at once" to the child, so what only follows from the first must not become one
    const stopOnce = () => {
      if (lastMs.size === 0) passOn('SIGTERM')
    }
    const reactions = { SIGINT: passOn, SIGTERM: passOn, SIGHUP: stopOnce }
    for (const [signal, react] of Object.entries(reactions)) process.on(signal, react)

    const parentPid = process.ppid
    const parentWatch = process.env.npm_lifecycle_event
      ? setInterval(() => {
          if (process.ppid !== parentPid) stopOnce()
        }, PARENT_POLL_MS)
      : undefined
    const limit =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true
            signalGroup('SIGTERM')
            killTimer = setTimeout(() => signalGroup('SIGKILL'), 10_000)
          }, timeoutMs)

    const settle = () => {
      for (const [signal, react] of Object.entries(reactions)) process.off(signal, react)
      clearInterval(parentWatch)
      clearTimeout(limit)
      clearTimeout(killTimer)
    }
    child.once('error', error => {
      settle()
      reject(error)
    })
    child.once('exit', (code, signal) => {
      settle()
      if (timedOut) signalGroup('SIGKILL') // whatever of the group outlived its leader
      resolve({ exitCode: exitCodeOf(code, signal), timedOut })
    })
  })
}

/**
 * Runs a program quietly; its output is only of interest when it fails.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} options
 * @returns {Promise<{ exitCode: number, output: string }>} `output`: the last 64 KiB of both streams
 */
export function runQuietly(program, args, { env, cwd } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const collect = chunk => (output = (output + chunk).slice(-65_536))
    child.stdout.setEncoding('utf8').on('data', collect)
    child.stderr.setEncoding('utf8').on('data', collect)
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    const stop = signal => {
      child.kill('SIGTERM')
      child.once('close', () => process.exit(exitCodeOf(null, signal)))
    }
    for (const signal of signals) process.once(signal, stop)
    const settle = () => {
      for (const signal of signals) process.off(signal, stop)
    }
    child.once('error', error => {
      settle()
      reject(error)
    })
    child.once('close', (code, signal) => {
      settle()
      resolve({ exitCode: exitCodeOf(code, signal), output })
    })
  })
}
