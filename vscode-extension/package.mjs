// Builds dipls-PLATFORM.vsix: the bundle, and the server's binary for the platform it is for (by default this one).
//
//   node package.mjs [TARGET]...      targets as vsce names them; `all` is every one of them
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';

// The server runs where ranks can run. Not on Windows: its processes talk through sockets that Windows does not have.
const targets = {
  'linux-x64': { GOOS: 'linux', GOARCH: 'amd64' },
  'linux-arm64': { GOOS: 'linux', GOARCH: 'arm64' },
  'darwin-x64': { GOOS: 'darwin', GOARCH: 'amd64' },
  'darwin-arm64': { GOOS: 'darwin', GOARCH: 'arm64' },
};

const named = process.argv.slice(2);
const wanted =
  named.length === 0 ? [`${process.platform}-${process.arch}`] : named.includes('all') ? Object.keys(targets) : named;
for (const target of wanted) {
  if (!(target in targets)) {
    console.error(`package: there is no server for ${target}, but for ${Object.keys(targets).join(', ')}`);
    process.exit(2);
  }
}

const run = (command, args, options) => execFileSync(command, args, { stdio: 'inherit', ...options });

copyFileSync('../LICENSE', 'LICENSE');
rmSync('dist', { recursive: true, force: true });
run('node', ['esbuild.mjs']);
for (const target of wanted) {
  rmSync('server', { recursive: true, force: true });
  mkdirSync('server');
  run('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', 'vscode-extension/server/dipls', './cmd/dipls'], {
    cwd: '..',
    env: { ...process.env, ...targets[target], CGO_ENABLED: '0' },
  });
  run('npx', [
    ...['--no-install', 'vsce', 'package', '--no-dependencies', '--target', target],
    // There is no public home yet that the README's links could lead to.
    ...['--allow-missing-repository', '--no-rewrite-relative-links', '--out', `dipls-${target}.vsix`],
  ]);
}
