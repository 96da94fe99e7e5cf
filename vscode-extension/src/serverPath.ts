/** Where the server's binary is, and how a process of it is started. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';

/** The setting `dip.server.path`, else the binary that the extension carries. */
export function serverPath(context: vscode.ExtensionContext): string {
  const configured = vscode.workspace.getConfiguration('dip').get<string>('server.path', '');
  if (configured !== '') {
    return configured.startsWith('~/') ? path.join(homedir(), configured.slice(2)) : configured;
  }
  return path.join(context.extensionPath, 'server', 'dipls');
}

/** Starts a server's process. An error says which file it was and why that cannot run. */
export async function startServer(command: string): Promise<ChildProcessWithoutNullStreams> {
  if (!existsSync(command)) {
    throw new Error(`there is no ${command}`);
  }
  // Warnings reach the client as well.
  const process = spawn(command, ['lsp', '--log-level', 'error'], { cwd: workingDirectory() });
  await new Promise<void>((resolve, reject) => {
    process.once('spawn', resolve);
    process.once('error', (error: NodeJS.ErrnoException) => {
      reject(new Error(`${command} cannot be run (${error.code ?? error.message})`));
    });
  });
  return process;
}

/** The folder for documents without a file: the first one, if there is any. */
function workingDirectory(): string {
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file' && existsSync(uri.fsPath));
  return folder?.uri.fsPath ?? homedir();
}

/** Waits for a process to end, and returns how it did, in a few words. Undefined if it has not after so many milliseconds. */
export async function ending(process: ChildProcessWithoutNullStreams, patience: number): Promise<string | undefined> {
  if (process.exitCode === null && process.signalCode === null) {
    const ended = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        resolve(false);
      }, patience);
      process.once('exit', () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
    if (!ended) {
      return undefined;
    }
  }
  return process.signalCode === null ? `exit code ${process.exitCode ?? 0}` : process.signalCode;
}
