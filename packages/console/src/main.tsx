import { render } from 'preact'
import { App } from './app.tsx'
import { watchPlace } from './place.ts'
import { applySettings } from './settings.ts'
import './style/base.css'
import './style/parts.css'
import './style/pages.css'
import { watchUploads } from './uploads/uploads.ts'

applySettings()
watchPlace()
watchUploads()
render(<App />, document.getElementById('app')!)
