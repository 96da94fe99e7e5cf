/**
 * Runs a command for as long as standard input is open, then ends its process group. So everything that the tests have started ends
 * with them, even if they are killed.
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

// Whoever holds the other end of standard input decides when to end, not whoever pressed Ctrl-C.
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
