import { expect, it } from '@jest/globals';
import { launchdPlan } from './launchd.js';
import { describePlan } from './plan.js';
import { ACTIONS } from './request.js';
import type { Machine, ServiceRequest } from './request.js';

const machine: Machine = {
  node: '/usr/local/bin/node',
  program: '/usr/local/lib/node_modules/pyro-ns/dist/commands/pyro-ns.js',
  home: '/Users/irmen',
  userID: 501,
};

const install: ServiceRequest = { action: 'install', user: false };

it.each(ACTIONS)('plans to %s as recorded', (action) => {
  expect(describePlan(launchdPlan({ ...install, action }, machine))).toMatchSnapshot();
});

it.each(ACTIONS)('plans to %s the service of a user as recorded', (action) => {
  expect(describePlan(launchdPlan({ ...install, action, user: true }, machine))).toMatchSnapshot();
});

it('writes options, account and passphrase file into the property list', () => {
  const request = {
    ...install,
    account: '_pyro',
    options: ['-d', '/srv/<a> & b'],
    identificationFile: '/etc/pyro secret',
  };
  const plan = describePlan(launchdPlan(request, machine));
  expect(plan).toContain('<string>/srv/&lt;a&gt; &amp; b</string>');
  expect(plan).toContain('<key>PYRO_NS_IDENTIFICATION_FILE</key>\n    <string>/etc/pyro secret</string>');
  expect(plan).toContain('<key>UserName</key>\n  <string>_pyro</string>');
  expect(plan).toContain('\nchown _pyro /usr/local/var/pyro-ns\n');
});
