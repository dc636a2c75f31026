/** Options as ffmpeg takes them, in their order: `{ map: '0:v:0', sn: true }` → `-map 0:v:0 -sn`. */
export function ffmpegOptions(options: Readonly<Record<string, string | number | true>>): string[] {
  return Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`-${name}`] : [`-${name}`, String(value)]
  )
}
