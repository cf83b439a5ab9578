import { expect, it } from '@jest/globals';
import { describePlan } from './plan.js';
import { ACTIONS } from './request.js';
import type { Machine, ServiceRequest } from './request.js';
import { UsageError } from '../cli.js';
import { windowsPlan } from './windows.js';

const machine: Machine = {
  node: String.raw`C:\Program Files\nodejs\node.exe`,
  program: String.raw`C:\Users\irmen\AppData\Roaming\npm\node_modules\pyro-ns\dist\commands\pyro-ns.js`,
  home: String.raw`C:\Users\irmen`,
  userID: -1,
};

const install: ServiceRequest = { action: 'install', user: false };

const commands = (request: ServiceRequest) =>
  windowsPlan(request, machine).flatMap((step) => ('run' in step ? [step.run] : []));

it.each(ACTIONS)('plans to %s as recorded', (action) => {
  expect(describePlan(windowsPlan({ ...install, action }, machine))).toMatchSnapshot();
});

it.each([
  [['-d', 'names'], '-d names -k'],
  [['-d', 'C:\\my names\\'], '-d "C:\\my names\\\\" -k'],
  [['-d', 'a"b\\"c'], '-d "a\\"b\\\\\\"c" -k'],
  [['-n', ''], '-n "" -k'],
])('writes the options %j into the registry', (options, value) => {
  const arguments_ = commands({ ...install, options }).find((command) => command.includes('PyroServiceArguments'));
  expect(arguments_?.slice(-2)).toEqual([value, '/f']);
});

it('hands over the passphrase file in the environment', () => {
  const environment = commands({ ...install, identificationFile: 'D:\\my secret' }).find((command) =>
    command.includes('Environment'),
  );
  expect(environment?.at(-2)).toBe(
    'PYRO_STORAGE=C:\\|PYRO_LOGFILE=C:\\Pyro_NS_svc.log|PYRO_NS_URIFILE=C:\\Pyro_NS_URI.txt|PYRO_TRACELEVEL=3|' +
      'PYRO_NS_IDENTIFICATION_FILE=D:\\my secret',
  );
});

it.each([{ user: true }, { account: 'pyro' }])('has no %j', (more) => {
  expect(() => windowsPlan({ ...install, ...more }, machine)).toThrow(UsageError);
});
