/** A small plot of the last minutes. What it shows is said in words beside it. */
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { look } from '../settings.ts'
import { SHOWN_S, type Series } from './series.ts'

export interface PlotProps {
  series: Series
  /** Changes with each new figure. */
  at: string
  /** Custom properties of the page, a colour for each line. */
  colours: readonly string[]
  height?: number
  label: string
}

export function Plot({ series, at, colours, height = 64, label }: PlotProps) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  useEffect(() => {
    const home = box.current!
    const style = getComputedStyle(home)
    const colour = (name: string): string => style.getPropertyValue(name) || '#0f766e'
    const made = new uPlot(
      {
        width: Math.max(40, home.clientWidth),
        height,
        legend: { show: false },
        cursor: { show: false },
        padding: [2, 0, 2, 0],
        scales: {
          x: { time: false, range: (_plot, _min, max) => [max - SHOWN_S, max] },
          y: { range: (_plot, _min, max) => [0, Math.max(1, max) * 1.1] }
        },
        axes: [{ show: false }, { show: false }],
        series: [
          {},
          ...colours.map((name, index) => ({
            stroke: colour(name),
            width: 1.5,
            points: { show: false },
            ...(index === 0 && { fill: `color-mix(in srgb, ${colour(name)} 14%, transparent)` })
          }))
        ]
      },
      series.data,
      home
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(40, home.clientWidth), height }))
    observer.observe(home)
    return () => {
      observer.disconnect()
      made.destroy()
    }
  }, [series, look.value, height])
  useEffect(() => plot.current?.setData(series.data), [series, at])
  return <div ref={box} class="plot" role="img" aria-label={label} />
}
