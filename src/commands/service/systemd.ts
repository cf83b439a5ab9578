import { isAbsolute, join } from 'node:path/posix';
import type { Plan } from './plan.js';
import { databaseDirectory, serverOptions } from './request.js';
import type { Machine, ServiceRequest } from './request.js';
import { UsageError } from '../cli.js';

const UNIT = 'pyro-ns.service';

/** Where systemd keeps the state directory of the machine's service. */
const STATE_DIRECTORY = '/var/lib/pyro-ns';

/** The exit status of `pyro-ns` for options that are wrong: starting again does not help. */
const USAGE_STATUS = 2;

/** The name under which the passphrase is handed to the service. */
const CREDENTIAL = 'identification';

/**
 * A service of systemd, of the machine or (`--user`) of a user. The machine's has a user of its own that exists while it
 * runs, and sees and reaches nothing but what it needs; see `docs/service.md` for what each setting is about.
 * @throws UsageError where the request makes no sense
 */
export function systemdPlan(request: ServiceRequest, machine: Machine): Plan {
  const systemctl = request.user ? (['systemctl', '--user'] as const) : (['systemctl'] as const);
  const file = request.user ? join(machine.home, '.config/systemd/user', UNIT) : join('/etc/systemd/system', UNIT);
  const reload = { run: [...systemctl, 'daemon-reload'] } as const;
  switch (request.action) {
    case 'install':
      return [
        { write: file, content: systemdUnit(request, machine), mode: 0o644 },
        reload,
        { run: [...systemctl, 'enable', UNIT] },
      ];
    case 'update':
      return [
        { write: file, content: systemdUnit(request, machine), mode: 0o644 },
        reload,
        { run: [...systemctl, 'restart', UNIT] },
      ];
    case 'remove':
      return [{ run: [...systemctl, 'disable', '--now', UNIT], mayFail: true }, { remove: file }, reload];
    case 'status':
      return [{ run: [...systemctl, '--no-pager', 'status', UNIT] }];
    default:
      return [{ run: [...systemctl, request.action, UNIT] }];
  }
}

/**
 * The unit file.
 * @throws UsageError as `systemdPlan`
 */
export function systemdUnit(request: ServiceRequest, machine: Machine): string {
  const options = serverOptions(request);
  const command = [machine.node, machine.program, ...options].map((word) => quote(word).replaceAll('$', '$$$$'));
  const edit = `systemctl ${request.user ? '--user ' : ''}edit ${UNIT}`;
  const lines = [
    `# Made by pyro-nssvc, which replaces it: put what you change in a drop-in (${edit}).`,
    '[Unit]',
    'Description=Pyro Naming Service',
    ...(request.user ? [] : ['Wants=network-online.target', 'After=network-online.target']),
    // A name server must come back, however often it failed before.
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=exec',
    `ExecStart=${command.join(' ')}`,
    'ExecReload=/bin/kill -HUP $MAINPID',
    'Restart=on-failure',
    'RestartSec=2',
    `RestartPreventExitStatus=${USAGE_STATUS}`,
    'StateDirectory=pyro-ns',
    'StateDirectoryMode=0700',
    'WorkingDirectory=%S/pyro-ns',
    'Environment=PYRO_STORAGE=%S/pyro-ns PYRO_LOGFILE=/dev/stderr PYRO_TRACELEVEL=2',
    'EnvironmentFile=-%E/pyro-ns/environment',
    ...identification(request),
    'LimitNOFILE=65536',
    'UMask=0077',
    ...UNPRIVILEGED_HARDENING,
    ...(request.user ? [] : systemHardening(request, machine, databaseDirectory(options))),
    '',
    '[Install]',
    `WantedBy=${request.user ? 'default' : 'multi-user'}.target`,
  ];
  return `${lines.join('\n')}\n`;
}

function identification({ user, identificationFile }: ServiceRequest): string[] {
  if (identificationFile === undefined) return [];
  // The service's own user can't read the file; systemd reads it and hands it over.
  return user
    ? [`Environment=${quote(`PYRO_NS_IDENTIFICATION_FILE=${identificationFile}`)}`]
    : [
        `LoadCredential=${CREDENTIAL}:${identificationFile.replaceAll('%', '%%')}`,
        `Environment=PYRO_NS_IDENTIFICATION_FILE=%d/${CREDENTIAL}`,
      ];
}

// What a user's own systemd can do without privileges. No MemoryDenyWriteExecute: Node.js compiles to machine code.
const UNPRIVILEGED_HARDENING = [
  'NoNewPrivileges=yes',
  'LockPersonality=yes',
  // Netlink is how the addresses of this machine are found out.
  'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service @pkey',
  'SystemCallFilter=~@privileged @resources',
  'SystemCallErrorNumber=EPERM',
];

function systemHardening({ account }: ServiceRequest, machine: Machine, database: string | undefined): string[] {
  const ownDatabase = database !== undefined && isAbsolute(database) && !isWithin(database, STATE_DIRECTORY);
  if (ownDatabase && account === undefined) {
    throw new UsageError(
      `the service could not write ${database}: say with --account whose it is, or name a directory in ${STATE_DIRECTORY}`,
    );
  }
  const needed = [machine.node, machine.program, ...(ownDatabase ? [database] : [])];
  return [
    account === undefined ? 'DynamicUser=yes' : `User=${account}`,
    ...(ownDatabase ? [`ReadWritePaths=${quote(database)}`] : []),
    'ProtectSystem=strict',
    `ProtectHome=${needed.some((path) => HOMES.some((home) => isWithin(path, home))) ? 'read-only' : 'yes'}`,
    'PrivateMounts=yes',
    'PrivateTmp=yes',
    'PrivateDevices=yes',
    'PrivateUsers=yes',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
    'ProtectProc=invisible',
    'ProcSubset=pid',
    'CapabilityBoundingSet=',
    'AmbientCapabilities=',
    'DevicePolicy=closed',
    'KeyringMode=private',
    'RemoveIPC=yes',
  ];
}

/** What ProtectHome hides. */
const HOMES = ['/home', '/root', '/run/user'];

const isWithin = (path: string, directory: string): boolean => `${path}/`.startsWith(`${directory}/`);

/** A word as systemd reads it in lists and commands: `%` begins a specifier. */
function quote(word: string): string {
  const escaped = word.replaceAll('%', '%%');
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`;
}
