/** Which regions a client's new files should be in: by its network first, then by its application. */
import { AllowList } from '@tributary/runtime'

export interface NetworkRegion {
  /** Address or network. */
  network: string
  region: string
}

export interface ApplicationRegion {
  application: string
  region: string
}

export class RegionMap {
  readonly #networks: readonly { network: AllowList; region: string }[]
  readonly #applications: readonly ApplicationRegion[]

  /** @throws {NetworkSyntaxError} */
  constructor(networks: readonly NetworkRegion[], applications: readonly ApplicationRegion[]) {
    this.#networks = networks.map(({ network, region }) => ({ network: AllowList.parse([network]), region }))
    this.#applications = applications
  }

  /** Best first; of several networks with the address the first one counts. */
  preferred(ip: string, application: string): string[] {
    const regions: string[] = []
    const byNetwork = this.#networks.find(({ network }) => network.allows(ip))
    if (byNetwork) regions.push(byNetwork.region)
    const byApplication = this.#applications.find(entry => entry.application === application)
    if (byApplication) regions.push(byApplication.region)
    return regions
  }
}

/** `10.1.0.0/16=eu` @throws {Error} what was expected. */
export function networkRegionOf(text: string): NetworkRegion {
  const [, network, region] = /^([^=\s]+)=(\S{1,64})$/.exec(text.trim()) ?? []
  if (network === undefined || region === undefined) throw new Error('network=region, as 10.1.0.0/16=eu')
  AllowList.parse([network])
  return { network, region }
}

/** `media=eu` @throws {Error} what was expected. */
export function applicationRegionOf(text: string): ApplicationRegion {
  const [, application, region] = /^([A-Za-z0-9]{1,15})=(\S{1,64})$/.exec(text.trim()) ?? []
  if (application === undefined || region === undefined) throw new Error('application=region, as media=eu')
  return { application, region }
}
