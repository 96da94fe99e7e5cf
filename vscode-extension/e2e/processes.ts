/** Processes that the tests have started, directly or not, known by a mark in their environment. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import * as path from 'node:path';

export interface ProcessInfo {
  pid: number;
  /** The file that it executes. */
  executable: string;
  commandLine: string;
}

/** The living processes whose environment has `mark`, a `NAME=value`, in it. */
export async function marked(mark: string): Promise<ProcessInfo[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid): Promise<ProcessInfo | undefined> => {
      try {
        const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
        if (!environment.split('\0').includes(mark)) {
          return undefined;
        }
        const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim();
        return { pid: Number(pid), executable: await readlink(`/proc/${pid}/exe`), commandLine };
      } catch {
        return undefined; // It has ended meanwhile, or is somebody else's.
      }
    }),
  );
  return found.filter((info) => info !== undefined);
}

/** A process that ends, with all of its process group, at the latest when this one does. */
export class Tethered {
  private constructor(private readonly child: ChildProcess) {}

  /** `node` runs TypeScript; what the command prints goes to the open file `output`. */
  static start(node: string, command: string[], env: NodeJS.ProcessEnv, output: number): Tethered {
    const tether = path.join(import.meta.dirname, 'tether.ts');
    return new Tethered(spawn(node, [tether, ...command], { stdio: ['pipe', output, output], env }));
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async stop(): Promise<void> {
    if (this.running) {
      const ended = once(this.child, 'exit');
      this.child.stdin?.end();
      await ended;
    }
  }
}
