// Builds dipls-PLATFORM.vsix: the bundle, and the server's binary for the platform it is for (by default this one).
//
//   node package.mjs [TARGET]      TARGET as vsce names it: linux-x64, darwin-arm64, …
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';

const architectures = { x64: 'amd64', arm64: 'arm64' };
const target = process.argv[2] ?? `${process.platform}-${process.arch}`;
const [os, arch] = target.split('-');
if (!(arch in architectures)) {
  console.error(`package: no server for ${target}: it is built for x64 and arm64`);
  process.exit(2);
}

const run = (command, args, options) => execFileSync(command, args, { stdio: 'inherit', ...options });

rmSync('server', { recursive: true, force: true });
mkdirSync('server');
run('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', 'vscode-extension/server/dipls', './cmd/dipls'], {
  cwd: '..',
  env: { ...process.env, GOOS: os, GOARCH: architectures[arch], CGO_ENABLED: '0' },
});
copyFileSync('../LICENSE', 'LICENSE');
run('node', ['esbuild.mjs']);
run('npx', ['--no-install', 'vsce', 'package', '--no-dependencies', '--target', target, '--out', `dipls-${target}.vsix`]);
