import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

const LEVEL_STYLES: Record<string, Style> = {
  fatal: ['bgRed', 'white'],
  error: 'red',
  warn: 'yellow',
  info: 'green',
  debug: 'blue',
  trace: 'gray'
}

/**
 * Turns one JSON line of the log into a line for people: `12:03:04.123 WARN  tracker  message  key=value`.
 * What is not JSON (a child's own output) comes back as it was.
 */
export function formatLogLine(line: string, { colour = true }: { colour?: boolean } = {}): string {
  const paint = (style: Style, text: string): string =>
    colour ? styleText(style, text, { validateStream: false }) : text
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(line) as Record<string, unknown>
  } catch {
    return line.endsWith('\n') ? line : `${line}\n`
  }
  if (fields === null || typeof fields !== 'object') return line.endsWith('\n') ? line : `${line}\n`
  const { level, time, name, msg, err, pid: _pid, hostname: _hostname, ...rest } = fields
  const levelText = typeof level === 'string' ? level : 'info'
  const at = typeof time === 'string' ? new Date(time) : new Date(Number(time))
  const clock = Number.isNaN(at.getTime()) ? '--:--:--.---' : timeOfDay(at)
  const parts = [
    paint('gray', clock),
    paint(LEVEL_STYLES[levelText] ?? 'green', levelText.toUpperCase().padEnd(5)),
    paint('cyan', typeof name === 'string' ? name : ''),
    visible(typeof msg === 'string' ? msg : '')
  ]
  for (const [key, value] of Object.entries(rest)) {
    parts.push(paint('gray', `${key}=`) + visible(typeof value === 'string' ? value : JSON.stringify(value)))
  }
  let text = parts.filter(part => part !== '').join(' ')
  if (err !== null && typeof err === 'object') {
    const { stack, message } = err as { stack?: unknown; message?: unknown }
    const trace = typeof stack === 'string' ? stack : String(message)
    text += `\n${paint('gray', trace.split('\n').map(visible).join('\n').replace(/^/gm, '    '))}`
  }
  return `${text}\n`
}

function timeOfDay(at: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`
}

/** A peer's text must not move the cursor of the operator's terminal. */
function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
