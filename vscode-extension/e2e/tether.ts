/**
 * Runs a command for as long as standard input is open, then ends its process group. So what the tests have started ends with
 * them however they end, by a signal that cannot be caught included.
 *
 *     node tether.ts COMMAND ARGUMENTS…
 */
import { spawn } from 'node:child_process';

const [command = '', ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], detached: true });

function end(signal: NodeJS.Signals): void {
  try {
    process.kill(-(child.pid ?? NaN), signal);
  } catch {
    // Nobody of the group is left.
  }
}

// The one who holds the other end of standard input decides, not who pressed Ctrl-C.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => undefined);
}
process.stdin.resume().on('close', () => {
  end('SIGTERM');
  setTimeout(() => {
    end('SIGKILL');
  }, 10_000);
});
child.on('exit', (code) => {
  end('SIGKILL');
  process.exit(code ?? 1);
});
