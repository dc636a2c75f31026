/** A component whose code comes when it is first shown. */
import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { texts } from '../settings.ts'

export function lazy<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  let loaded: ComponentType<Props> | undefined
  return function Lazy(props: Props) {
    const [, setReady] = useState(loaded !== undefined)
    const [failed, setFailed] = useState(false)
    useEffect(() => {
      if (loaded) return
      load().then(
        component => {
          loaded = component
          setReady(true)
        },
        () => setFailed(true)
      )
    }, [])
    const Component = loaded
    if (Component) return <Component {...props} />
    return failed ? (
      <p class="note bad" role="alert">
        {texts.value.offline}
      </p>
    ) : (
      <p class="facts loading">{texts.value.loading}</p>
    )
  }
}
