import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { expect, test } from 'vitest';
import { configuration, executable } from '../configuration';
import { settings } from '../src/generated/server';

const file = path.join(import.meta.dirname, '../package.json');
const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
  contributes: Record<string, unknown> & { configuration: ReturnType<typeof configuration> };
};

test('the settings are those of the table: otherwise run `npm run generate`', () => {
  expect(manifest.contributes.configuration).toEqual(configuration());
});

test('every setting of the server that means something here is there', () => {
  const missing = settings
    .map(({ key }) => key)
    .filter((key) => !(key in manifest.contributes.configuration.properties));
  expect(missing).toEqual(['dip.failures']); // for clients without events
});

test('a workspace that is not trusted does not name what is run', () => {
  expect(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations.toSorted()).toEqual(executable.toSorted());
  const properties = manifest.contributes.configuration.properties;
  expect(properties['dip.server.path']?.scope).toBe('machine');
  expect(properties['dip.python']?.scope).toBe('machine-overridable');
});
