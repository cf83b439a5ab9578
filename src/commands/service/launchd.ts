import { join } from 'node:path/posix';
import type { Plan, Step } from './plan.js';
import { serverOptions } from './request.js';
import type { Machine, ServiceRequest } from './request.js';

const LABEL = 'pyro-ns';

/** The account of the machine's service where none is named: the one that macOS has for such. */
const USUAL_ACCOUNT = 'daemon';

/**
 * A service of launchd on macOS: a daemon of the machine, or (`--user`) an agent of a user.
 * @throws UsageError where the request makes no sense
 */
export function launchdPlan(request: ServiceRequest, machine: Machine): Plan {
  const { user, account = USUAL_ACCOUNT } = request;
  const domain = user ? `gui/${machine.userID}` : 'system';
  const target = `${domain}/${LABEL}`;
  const file = join(user ? join(machine.home, 'Library/LaunchAgents') : '/Library/LaunchDaemons', `${LABEL}.plist`);
  const storage = user ? join(machine.home, 'Library/Application Support/pyro-ns') : '/usr/local/var/pyro-ns';

  const ownership: Step[] = user ? [] : [{ run: ['chown', account, storage] }];
  const start: Step = { run: ['launchctl', 'bootstrap', domain, file] };
  const stop = { run: ['launchctl', 'bootout', target] } as const;
  const stopIfStarted: Step = { ...stop, mayFail: true };
  switch (request.action) {
    case 'install':
      return [
        { run: ['mkdir', '-p', '-m', '700', storage] },
        ...ownership,
        { write: file, content: propertyList(request, machine, storage), mode: 0o644 },
        { run: ['launchctl', 'enable', target] },
      ];
    case 'update':
      return [{ write: file, content: propertyList(request, machine, storage), mode: 0o644 }, stopIfStarted, start];
    case 'remove':
      return [stopIfStarted, { remove: file }];
    case 'start':
      return [start];
    case 'stop':
      return [stop];
    case 'restart':
      return [{ run: ['launchctl', 'kickstart', '-k', target] }];
    case 'status':
      return [{ run: ['launchctl', 'print', target] }];
  }
}

/** The property list that launchd reads. */
function propertyList(request: ServiceRequest, machine: Machine, storage: string): string {
  const { user, account = USUAL_ACCOUNT, identificationFile } = request;
  const environment = {
    PYRO_STORAGE: storage,
    PYRO_TRACELEVEL: '2',
    ...(identificationFile === undefined ? {} : { PYRO_NS_IDENTIFICATION_FILE: identificationFile }),
  };
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>${LABEL}</string>
  <key>ProgramArguments</key>
  <array>
${[machine.node, machine.program, ...serverOptions(request)].map((word) => `    <string>${xml(word)}</string>`).join('\n')}
  </array>
  <key>EnvironmentVariables</key>
  <dict>
${Object.entries(environment)
  .map(([name, value]) => `    <key>${name}</key>\n    <string>${xml(value)}</string>`)
  .join('\n')}
  </dict>
${user ? '' : `  <key>UserName</key>\n  <string>${xml(account)}</string>\n`}  <key>WorkingDirectory</key>
  <string>${xml(storage)}</string>
  <key>StandardOutPath</key>
  <string>${xml(join(storage, 'output.log'))}</string>
  <key>StandardErrorPath</key>
  <string>${xml(join(storage, 'output.log'))}</string>
  <key>Umask</key>
  <integer>63</integer>
  <key>SoftResourceLimits</key>
  <dict>
    <key>NumberOfFiles</key>
    <integer>65536</integer>
  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
</dict>
</plist>
`;
}

const xml = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
