import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { listFiles, PackageManager } from '@vscode/vsce';
import { describe, expect, test } from 'vitest';
import { configuration, executable } from '../configuration';
import { settings } from '../src/generated/server';

const file = path.join(import.meta.dirname, '../package.json');
const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
  icon: string;
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

describe('the package', () => {
  const root = path.dirname(file);

  test('has bundles of less than a megabyte, without maps of their sources', () => {
    const out = mkdtempSync(path.join(tmpdir(), 'dip-bundle-'));
    try {
      execFileSync(process.execPath, ['esbuild.mjs', `--out=${out}`], { cwd: root, stdio: 'pipe' });
      const bundles = readdirSync(out, { recursive: true, encoding: 'utf8' }).filter(
        (name) => path.extname(name) !== '',
      );
      expect(bundles).toContain('extension.js');
      expect(bundles.filter((name) => name.endsWith('.map'))).toEqual([]);
      // What draws rich output is loaded by the first that needs it, and not with the panel.
      const loaded = bundles.filter((name) => !name.startsWith('renderers'));
      const sum = (names: string[]): number =>
        names.reduce((sum, name) => sum + statSync(path.join(out, name)).size, 0);
      expect(sum(loaded)).toBeLessThan(1_000_000);
      expect(bundles.length).toBeGreaterThan(loaded.length);
      expect(sum(bundles)).toBeLessThan(9_000_000); // with the server's binary the package stays below 25 MB
    } finally {
      rmSync(out, { recursive: true });
    }
  }, 60_000);

  test('holds what is needed to run, and no sources, tests or tools', async () => {
    const files = await listFiles({ cwd: root, packageManager: PackageManager.None });
    const expected = [
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|server\/dipls)$/,
      /^dist\/[\w/-]+\.(js|css|ttf)$/,
      /^images\/[\w-]+\.(png|svg)$/,
      /^walkthrough\/[\w-]+\.(svg|py)$/,
      /^syntaxes\/[\w.]+\.json$/,
    ];
    const isExpected = (name: string) => expected.some((pattern) => pattern.test(name.replaceAll('\\', '/')));
    expect(files.filter((name) => !isExpected(name))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['package.json', 'README.md', 'CHANGELOG.md', manifest.icon]));
  });

  test('has every file that package.json names', () => {
    const names = [...JSON.stringify(manifest).matchAll(/"((?:images|walkthrough)\/[^"]+)"/g)].map(
      ([, name]) => name ?? '',
    );
    expect(names.length).toBeGreaterThan(5);
    expect(names.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
  });
});
