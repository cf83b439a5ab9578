import { win32 } from 'node:path';
import type { Plan, Step } from './plan.js';
import { serverOptions } from './request.js';
import type { Machine, ServiceRequest } from './request.js';
import { UsageError } from '../cli.js';
import { WINDOWS_HOST } from './windows-host.js';

// The names are those of the manual's chapter, for the service that Pyro 3 has.
const SERVICE = 'PyroNS';
const KEY = String.raw`HKLM\System\CurrentControlSet\Services\PyroNS`;

/**
 * The Windows service of the manual's chapter.
 * @throws UsageError where the request makes no sense
 */
export function windowsPlan(request: ServiceRequest, machine: Machine): Plan {
  if (request.user) throw new UsageError('Windows has no services of a user: leave out --user');
  if (request.account !== undefined) {
    throw new UsageError('the service needs the system account to write its log and URI file: leave out --account');
  }
  const stopIfStarted: Step = { run: ['net.exe', 'stop', SERVICE], mayFail: true };
  const start: Step = { run: ['net.exe', 'start', SERVICE] };
  switch (request.action) {
    case 'install':
      return [...host(machine), ...registration('create', machine), ...settings(request, machine)];
    case 'update':
      return [
        stopIfStarted,
        ...host(machine),
        ...registration('config', machine),
        ...settings(request, machine),
        start,
      ];
    case 'remove':
      return [stopIfStarted, { run: ['sc.exe', 'delete', SERVICE] }, { remove: hostDirectory(machine) }];
    case 'start':
      return [start];
    case 'stop':
      return [{ run: ['net.exe', 'stop', SERVICE] }];
    case 'restart':
      return [stopIfStarted, start];
    case 'status':
      return [{ run: ['sc.exe', 'query', SERVICE] }];
  }
}

/** The root of the system drive: Windows keeps home directories on it. */
const systemRoot = ({ home }: Machine): string => win32.parse(home).root;

/** Only administrators can write there, so nobody else can change what the service runs. */
const hostDirectory = (machine: Machine): string => win32.join(systemRoot(machine), 'Program Files', 'Pyro_NS');

const hostProgram = (machine: Machine): string => win32.join(hostDirectory(machine), 'PyroNS.exe');

/** Writes and compiles the program that is the service. */
function host(machine: Machine): Step[] {
  const source = win32.join(hostDirectory(machine), 'PyroNS.cs');
  // The 32 bit edition is on every Windows, whatever its processor; what it makes runs as the processor's own.
  const compiler = win32.join(systemRoot(machine), String.raw`Windows\Microsoft.NET\Framework\v4.0.30319\csc.exe`);
  return [
    { write: source, content: WINDOWS_HOST, mode: 0o644 },
    {
      run: [
        compiler,
        '/nologo',
        '/target:exe',
        '/reference:System.ServiceProcess.dll',
        `/out:${hostProgram(machine)}`,
        source,
      ],
    },
  ];
}

/** Tells Windows of the service, and to start it again when it fails. */
function registration(command: 'create' | 'config', machine: Machine): Step[] {
  const program = [hostProgram(machine), machine.node, machine.program].map((path) => `"${path}"`).join(' ');
  return [
    {
      run: ['sc.exe', command, SERVICE, 'binPath=', program, 'start=', 'auto', 'DisplayName=', 'Pyro Naming Service'],
    },
    { run: ['sc.exe', 'description', SERVICE, 'Provides name resolution services for Pyro objects'] },
    { run: ['sc.exe', 'failure', SERVICE, 'reset=', '86400', 'actions=', 'restart/2000/restart/2000/restart/2000'] },
  ];
}

/** Puts the arguments of the server, and its environment, into the registry. */
function settings(request: ServiceRequest, machine: Machine): Step[] {
  const root = systemRoot(machine);
  const environment = [
    `PYRO_STORAGE=${root}`,
    `PYRO_LOGFILE=${root}Pyro_NS_svc.log`,
    `PYRO_NS_URIFILE=${root}Pyro_NS_URI.txt`,
    'PYRO_TRACELEVEL=3',
  ];
  if (request.identificationFile !== undefined) {
    environment.push(`PYRO_NS_IDENTIFICATION_FILE=${request.identificationFile}`);
  }
  const options = serverOptions(request).map(quote).join(' ');
  return [
    { run: ['reg.exe', 'add', KEY, '/v', 'PyroServiceArguments', '/t', 'REG_SZ', '/d', options, '/f'] },
    {
      // No path holds a `|`, which is why it separates the variables.
      run: [
        'reg.exe',
        'add',
        KEY,
        '/v',
        'Environment',
        '/t',
        'REG_MULTI_SZ',
        '/s',
        '|',
        '/d',
        environment.join('|'),
        '/f',
      ],
    },
  ];
}

/** A word as programs on Windows read it from their command line. */
function quote(word: string): string {
  if (/^[^\s"]+$/.test(word)) return word;
  return `"${word.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\+)$/, '$1$1')}"`;
}
