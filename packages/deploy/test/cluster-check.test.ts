import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checkNeighbours } from '../src/cluster-check.ts'
import { findingText } from '../src/finding.ts'
import { changed, descriptionOf, EXAMPLES, exampleText, findingsOf, type ExampleName } from './example.ts'

const HOST_A = 'name = "a"\naddress = "10.77.0.11"\n'
const ROLES = 'roles = ["tracker", "id", "gateway", "database"]'

/** One change of an example, and the one thing that is then told. */
const CASES: readonly (readonly [string, ExampleName, readonly (readonly [string, string])[], RegExp])[] = [
  [
    'a preferred region of no network',
    'three',
    [['[gateway]', '[regions]\nnetworks = ["10.1.0.0/33=eu"]\n\n[gateway]']],
    /^error: regions\.networks = 10\.1\.0\.0\/33=eu: .*as 10\.1\.0\.0\/16=eu/
  ],
  [
    'a preferred region of an application that is not there',
    'three',
    [['[gateway]', '[regions]\napplications = ["nobody=eu"]\n\n[gateway]']],
    /^error: regions\.applications = nobody=eu: .*of an application of the cluster/
  ],
  [
    'a key that nobody knows',
    'three',
    [['[gateway]', '[gateway]\nalow = []']],
    /^error: gateway\.alow: .*did you mean 'allow'/
  ],
  [
    'a table that nobody knows',
    'three',
    [['[gateway]', '[certificates]\nfile = "x"\n[gateway]']],
    /^error: certificates: expected a known key/
  ],
  [
    'a value of the wrong type',
    'three',
    [['name = "three"', 'name = "three"\napplications = "media"']],
    /^error: cluster\.applications = "media": expected a list/
  ],
  [
    'a line break in a name',
    'three',
    [['name = "three"', 'name = "three"\ndevice = "eth0\\nexec"']],
    /^error: cluster\.device/
  ],
  [
    'a replica 2 without an arbiter',
    'three',
    [['["a", "b", "c"]', '["a", "b"]']],
    /^error: groups\.group001\.members = a, b: .*neither could be read/
  ],
  [
    'a group with one member',
    'three',
    [['["a", "b", "c"]', '["a"]']],
    /^error: groups\.group001\.members = a: .*mirrors nothing/
  ],
  [
    'a group without a host',
    'three',
    [
      ['["a", "b", "c"]', '[]'],
      ['for = "group001"', 'for = "group001"']
    ],
    /^error: groups\.group001\.members = \[\]: .*no host/
  ],
  [
    'a member twice',
    'three',
    [['["a", "b", "c"]', '["a", "b", "b"]']],
    /^error: groups\.group001\.members = a, b, b: expected each member once/
  ],
  [
    'a member that is no host',
    'three',
    [['["a", "b", "c"]', '["a", "b", "z"]']],
    /^error: groups\.group001\.members = z: expected a host/
  ],
  [
    'an arbiter that is a member',
    'wide',
    [['arbiter = "arbiter"', 'arbiter = "films1"']],
    /^error: groups\.group001\.arbiter = films1: expected a host that is no member/
  ],
  [
    'an arbiter beside three members',
    'three',
    [['["a", "b", "c"]', '["a", "b", "c"]\narbiter = "d"']],
    /^error: groups\.group001\.arbiter = d: expected no arbiter/
  ],
  [
    'a name that is no group name',
    'wide',
    [['name = "group002"', 'name = "group-2"']],
    /^error: groups\.group-2\.name = group-2: expected 1 to 16 letters/
  ],
  [
    'two hosts with one address',
    'three',
    [['10.77.0.12', '10.77.0.11']],
    /^error: hosts\.b\.address = 10\.77\.0\.11: .*also host a's/
  ],
  [
    'two hosts of one name',
    'three',
    [['name = "b"', 'name = "a"']],
    /^error: hosts\.a\.name = a: expected each host once/
  ],
  [
    'a host name that is none',
    'three',
    [
      ['name = "b"', 'name = "B b"'],
      ['"b", "c"', '"B b", "c"']
    ],
    /^error: hosts\.B b\.name = B b: expected a host name/
  ],
  [
    'an address that is none',
    'three',
    [['10.77.0.12', 'fd00::1']],
    /^error: hosts\.b\.address = fd00::1: expected an IPv4 address/
  ],
  [
    'a host outside of the networks',
    'three',
    [['10.77.0.12', '10.78.0.12']],
    /^error: hosts\.b\.address = 10\.78\.0\.12: expected an address in cluster\.networks/
  ],
  [
    'a host with the address of a network',
    'three',
    [['10.77.0.12', '10.77.0.255']],
    /^error: hosts\.b\.address = 10\.77\.0\.255/
  ],
  [
    'a network with host bits',
    'three',
    [['10.77.0.0/24', '10.77.0.1/24']],
    /^error: cluster\.networks = 10\.77\.0\.1\/24/
  ],
  [
    'a role that is none',
    'three',
    [[ROLES, ROLES.replace('"id"', '"id", "storage"')]],
    /^error: hosts\.a\.roles = storage: .*named by the group/
  ],
  [
    'a host without any role',
    'wide',
    [['roles = ["gateway"]', 'roles = []']],
    /^error: hosts\.gateway1: expected a role/
  ],
  [
    "a virtual address that is a host's",
    'three',
    [['10.77.0.101', '10.77.0.12']],
    /^error: virtual_addresses\.tracker\.address = 10\.77\.0\.12: .*host b's own/
  ],
  [
    "a virtual address outside of every host's network",
    'three',
    [['10.77.0.101', '10.99.0.101']],
    /^error: virtual_addresses\.tracker\.address = 10\.99\.0\.101/
  ],
  [
    'a virtual address of nothing',
    'three',
    [['for = "tracker"', 'for = "cache"']],
    /^error: virtual_addresses\.cache\.for = cache/
  ],
  [
    'two router ids that are one',
    'three',
    [['address = "10.77.0.101"', 'address = "10.77.0.101"\nrouter_id = 100']],
    /^error: virtual_addresses\.tracker\.router_id = 100: .*gateway/
  ],
  [
    'an even number of database nodes',
    'wide',
    [
      [
        'name = "data3"\naddress = "10.77.0.53"\nroles = ["database"]',
        'name = "data3"\naddress = "10.77.0.53"'
      ]
    ],
    /^error: database = data1, data2: .*no majority and stops/
  ],
  [
    "a database of its own and somebody else's",
    'three',
    [['[gateway]', '[database]\nexternal = ["db:3306"]\n[gateway]']],
    /^error: database\.external = db:3306: expected either/
  ],
  [
    'two sentinels',
    'wide',
    [['["data1", "data2", "data3"]', '["data1", "data2"]']],
    /^error: redis\.sentinels = data1, data2: expected three/
  ],
  [
    'no sentinel but replicas',
    'wide',
    [['sentinels = ["data1", "data2", "data3"]', 'sentinels = []']],
    /^error: redis\.sentinels = \[\]/
  ],
  [
    'a sentinel on an unknown host',
    'wide',
    [['sentinels = ["data1"', 'sentinels = ["data9"']],
    /^error: redis\.sentinels = data9: expected a host/
  ],
  [
    'an application that is none',
    'three',
    [['name = "three"', 'name = "three"\napplications = ["no good"]']],
    /^error: cluster\.applications = no good/
  ]
]

const CERTIFICATE = 'certificate = "/etc/tributary/fullchain.pem"\n'
const PRIVATE_KEY = 'private_key = "/etc/tributary/privkey.pem"\n'
/** What stands behind `[gateway]`, and the one thing that is then told. */
const CERTIFICATES: readonly (readonly [string, string, RegExp])[] = [
  [
    'a certificate without its key',
    CERTIFICATE,
    /^error: gateway\.private_key: expected the key of gateway\.certificate/
  ],
  ['a key without its certificate', PRIVATE_KEY, /^error: gateway\.certificate: expected the certificate of/],
  [
    'a certificate at a path from nowhere',
    `certificate = "fullchain.pem"\n${PRIVATE_KEY}`,
    /^error: gateway\.certificate = fullchain\.pem: expected a path on the gateways/
  ],
  [
    'a path that a shell would read otherwise',
    `${CERTIFICATE}private_key = "/etc/tributary/$(reboot).pem"\n`,
    /^error: gateway\.private_key = .*reboot.*: expected a path/
  ],
  [
    'a key where the units let nobody look',
    `${CERTIFICATE}private_key = "/dev/shm/privkey.pem"\n`,
    /^error: gateway\.private_key = \/dev\/shm\/privkey\.pem: .*units hide \/dev/
  ],
  [
    'a key that would be a rendered file',
    `${CERTIFICATE}private_key = "/etc/tributary/write-token"\n`,
    /^error: gateway\.private_key = .*this file is rendered/
  ],
  [
    'a misspelt key of the configuration',
    `certifcate = "/etc/tributary/fullchain.pem"\n`,
    /^error: gateway\.certifcate: .*did you mean 'certificate'/
  ]
]

/** A change that makes a warning, no error. */
const WARNINGS: readonly (readonly [string, ExampleName, readonly (readonly [string, string])[], RegExp])[] =
  [
    [
      'one tracker',
      'wide',
      [['roles = ["tracker"]', 'roles = ["id"]']],
      /second host with the role 'tracker'/
    ],
    [
      "a key in certbot's folder",
      'three',
      [
        [
          '[gateway]',
          `[gateway]\n${CERTIFICATE}private_key = "/etc/letsencrypt/live/films.example.org/privkey.pem"`
        ]
      ],
      /^warning: gateway\.private_key = .*a copy that the user tributary may read/
    ],
    ['one ID server', 'wide', [['roles = ["id"]', 'roles = ["tracker"]']], /second host with the role 'id'/],
    [
      'one gateway',
      'wide',
      [['roles = ["gateway"]', 'roles = ["tracker"]']],
      /second host with the role 'gateway'/
    ],
    [
      'a network that prefers a region without a group',
      'three',
      [['[gateway]', '[regions]\nnetworks = ["10.1.0.0/16=us"]\n\n[gateway]']],
      /^warning: regions\.networks = 10\.1\.0\.0\/16=us: .*no group is there/
    ],
    [
      'gateways without a virtual address',
      'three',
      [['[[virtual_addresses]]\nfor = "gateway"\naddress = "10.77.0.100"\n', '']],
      /players know one address/
    ]
  ]

describe('the check of a description', () => {
  for (const name of EXAMPLES) {
    it(`finds nothing wrong with the example ${name}`, () => deepEqual(findingsOf(exampleText(name)), []))
  }

  for (const [title, name, changes, expected] of CASES) {
    it(`refuses ${title}`, () => {
      const errors = findingsOf(changed(name, changes)).filter(text => text.startsWith('error'))
      ok(
        errors.some(text => expected.test(text)),
        errors.join('\n')
      )
    })
  }

  for (const [title, lines, expected] of CERTIFICATES) {
    it(`refuses ${title}`, () => {
      const findings = findingsOf(changed('three', [['[gateway]', `[gateway]\n${lines}`]]))
      equal(findings.length, 1, findings.join('\n'))
      match(findings[0]!, expected)
    })
  }

  for (const [title, name, changes, expected] of WARNINGS) {
    it(`warns of ${title}, and lets it be`, () => {
      const findings = findingsOf(changed(name, changes))
      ok(
        findings.every(text => text.startsWith('warning')),
        findings.join('\n')
      )
      ok(
        findings.some(text => expected.test(text)),
        findings.join('\n')
      )
    })
  }

  it('refuses no tracker, no ID server; warns of no gateway', () => {
    const findings = findingsOf(exampleText('three').replaceAll(ROLES, 'roles = ["database"]'))
    ok(findings.some(text => /^error: hosts: .*'tracker'/.test(text)))
    ok(findings.some(text => /^error: hosts: .*'id'/.test(text)))
    ok(findings.some(text => /^warning: hosts: .*'gateway'/.test(text)))
  })

  it('tells everything at once', () => {
    const text = changed('three', [
      [HOST_A, 'nam = "a"\naddress = 5\n'],
      ['10.77.0.101', '10.77.0.12'],
      ['["a", "b", "c"]', '["b", "c"]']
    ])
    const findings = findingsOf(text)
    for (const expected of [
      /nam: .*did you mean 'name'/,
      /name: .*not set/,
      /address = 5/,
      /tracker\.address/,
      /members/
    ]) {
      ok(
        findings.some(text => expected.test(text)),
        `${expected.source}\n${findings.join('\n')}`
      )
    }
  })

  it('says what is no TOML, or nothing, without falling over', () => {
    match(findingsOf('[cluster\nname').join(), /^error: file = line 1/)
    match(findingsOf('').join(), /cluster.*hosts/)
    match(findingsOf('cluster = 1\nhosts = [1]\ngroups = "x"').join(), /cluster = 1/)
    match(findingsOf('[cluster]\nname = "x"\nnetworks = [9223372036854775807]').join(), /error/)
    match(findingsOf('[__proto__]\nname = "x"').join(), /error/)
  })

  it('finds what two clusters would do to each other', () => {
    const mine = descriptionOf(exampleText('three'))
    const same = checkNeighbours([
      { source: 'a.toml', description: mine },
      {
        source: 'b.toml',
        description: descriptionOf(changed('three', [['name = "three"', 'name = "four"']]))
      }
    ]).map(findingText)
    for (const expected of [
      /hosts\.a\.address/,
      /virtual_addresses\.gateway\.address/,
      /gateway\.router_id = 100/
    ]) {
      ok(
        same.some(text => expected.test(text)),
        expected.source
      )
    }
    const moved = exampleText('three').replaceAll('10.77.0.1', '10.77.0.2').replace('"three"', '"four"')
    deepEqual(
      checkNeighbours([
        { source: 'a.toml', description: mine },
        { source: 'b.toml', description: descriptionOf(moved) }
      ]),
      []
    )
  })
})
