/** Interpreters as the rows of a list to choose from. It needs no window. */
import * as path from 'node:path';
import type { InterpreterInfo } from '../generated/server';

export interface Row {
  readonly label: string;
  readonly description: string;
  readonly detail: string;
  /** The value for the setting `dip.python`. */
  readonly value: string;
}

const kinds: Readonly<Record<string, string>> = {
  venv: 'virtual environment',
  conda: 'conda environment',
  pyenv: 'pyenv',
  uv: 'uv',
  system: 'of the system',
};

/** The rows of interpreters, for a folder and a user's home. */
export function rows(interpreters: readonly InterpreterInfo[], folder: string | undefined, home: string): Row[] {
  return interpreters.map(({ path: file, version, torch, kind, current }) => ({
    label: [version === '' ? 'Python' : `Python ${version}`, torch === '' ? 'no torch' : `torch ${torch}`].join(' · '),
    description: [kinds[kind], current === true ? 'in use' : undefined]
      .filter((part) => part !== undefined)
      .join(' · '),
    detail: shortened(file, folder, home),
    value: settingOf(file, folder),
  }));
}

/** The value of the setting that means an interpreter, in a folder that may be at another place tomorrow. */
export function settingOf(file: string, folder: string | undefined): string {
  const inside = folder === undefined ? undefined : within(folder, file);
  return inside === undefined ? file : `\${workspaceFolder}/${inside}`;
}

/** Where a setting is set, as VS Code's `inspect` tells. Only when all of them are cleared has the user made no choice. */
export function setIn(found: {
  globalValue?: unknown;
  workspaceValue?: unknown;
  workspaceFolderValue?: unknown;
}): ('Global' | 'Workspace' | 'WorkspaceFolder')[] {
  const values = {
    Global: found.globalValue,
    Workspace: found.workspaceValue,
    WorkspaceFolder: found.workspaceFolderValue,
  };
  return (['Global', 'Workspace', 'WorkspaceFolder'] as const).filter((at) => values[at] !== undefined);
}

function shortened(file: string, folder: string | undefined, home: string): string {
  const inside = folder === undefined ? undefined : within(folder, file);
  if (inside !== undefined) {
    return inside;
  }
  const below = within(home, file);
  return below === undefined ? file : `~/${below}`;
}

/** The path of a file from a folder that it is in. */
function within(folder: string, file: string): string | undefined {
  const relative = path.relative(folder, file);
  return relative.startsWith('..') || path.isAbsolute(relative) ? undefined : relative;
}
