/** Pictures of the console, as strokes in a square of 24. */

const PATHS = {
  play: 'M8 5.5v13l11-6.5z',
  pause: 'M8.5 5.5v13 M15.5 5.5v13',
  film: 'M4 5h16v14H4z M8 5v14 M16 5v14 M4 9.7h4 M4 14.3h4 M16 9.7h4 M16 14.3h4',
  sound:
    'M9 18V6l10-2v12 M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z M19 16a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z',
  file: 'M6 3h8l5 5v13H6z M14 3v5h5',
  picture: 'M4 5h16v14H4z M4 16l5-5 4 4 3-3 4 4 M15.5 9.5h.01',
  link: 'M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1 M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1',
  share: 'M12 15V4 M8 7.5L12 3.5l4 4 M6 12H5v8h14v-8h-1',
  save: 'M12 4v11 M7 10.5l5 5 5-5 M5 20h14',
  trash: 'M5 7h14 M10 7V4h4v3 M7 7l1 13h8l1-13 M10.5 11v5 M13.5 11v5',
  restore: 'M5 12a7 7 0 1 0 2.2-5.1 M5 4.5v4h4',
  close: 'M6 6l12 12 M18 6L6 18',
  up: 'M12 20V7 M6.5 12.5L12 7l5.5 5.5 M5 4h14',
  search: 'M10.5 17a6.5 6.5 0 1 1 0-13 6.5 6.5 0 0 1 0 13z M15.5 15.5L20 20',
  more: 'M12 5.5h.01 M12 12h.01 M12 18.5h.01',
  grid: 'M4 4h7v7H4z M13 4h7v7h-7z M4 13h7v7H4z M13 13h7v7h-7z',
  list: 'M9 6h11 M9 12h11 M9 18h11 M4.5 6h.01 M4.5 12h.01 M4.5 18h.01',
  filter: 'M4 6h16 M7 12h10 M10 18h4',
  cluster: 'M4 4h16v6H4z M4 14h16v6H4z M7.5 7h.01 M7.5 17h.01 M11 7h6 M11 17h6',
  jobs: 'M12 8v4.5l3 2 M12 20a8 8 0 1 1 0-16 8 8 0 0 1 0 16z',
  key: 'M14.5 14.5a5 5 0 1 1 0-10 5 5 0 0 1 0 10z M11 13l-7 7 M7 17l2.5 2.5',
  settings:
    'M5 8h8 M17 8h2 M5 16h2 M11 16h8 M15 10a2 2 0 1 1 0-4 2 2 0 0 1 0 4z M9 18a2 2 0 1 1 0-4 2 2 0 0 1 0 4z',
  edit: 'M5 19h3.5L19 8.5 15.5 5 5 15.5z M13 7.5l3.5 3.5',
  subtitles: 'M4 6h16v12H4z M7.5 14.5h5 M15.5 14.5h1 M7.5 11h2 M12.5 11h4',
  info: 'M12 20a8 8 0 1 1 0-16 8 8 0 0 1 0 16z M12 11v5 M12 8h.01',
  warning: 'M12 4l9 16H3z M12 10v4.5 M12 17.2h.01',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  down: 'M6 9l6 6 6-6',
  back: 'M14 6l-6 6 6 6',
  plus: 'M12 5v14 M5 12h14',
  retry: 'M19 12a7 7 0 1 1-2.2-5.1 M19 4.5v4h-4'
} as const

export type IconName = keyof typeof PATHS

export function Icon({
  name,
  solid = false,
  large = false
}: {
  name: IconName
  solid?: boolean
  large?: boolean
}) {
  const kind = `icon of-${name}${solid ? ' solid' : ''}${large ? ' large' : ''}`
  return (
    <svg class={kind} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
