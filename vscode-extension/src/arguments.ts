/** The arguments of commands: what is not given comes from the place of the cursor. */
import type { CommandName } from './generated/server';

interface Position {
  readonly line: number;
  readonly character: number;
}

/** A place in a document. */
export interface Place {
  readonly uri: string;
  readonly position: Position;
  /** What is selected; empty where nothing is. */
  readonly range: { readonly start: Position; readonly end: Position };
}

/** For each command that needs a document, what it is about. For the others any document of the workspace will do. */
const about: Partial<Record<CommandName, readonly ('position' | 'range')[]>> = {
  'dip.runCell': ['position'],
  'dip.runAbove': ['position'],
  'dip.runBelow': ['position'],
  'dip.runAll': [],
  'dip.restartAndRunAll': [],
  'dip.restartAndRunTo': ['position'],
  'dip.runSelection': ['range'],
  'dip.runLine': ['position'],
  'dip.pushAndRun': ['position'],
  'dip.clear': [],
};

/**
 * The arguments of a command: those that a lens or a key gives, completed from the place of the cursor. Undefined if there is nothing that
 * the command could be about.
 */
export function fill(
  command: CommandName,
  given: Readonly<Record<string, unknown>>,
  place: Place | undefined,
): object | undefined {
  const fields = about[command];
  if (fields && !place && !('uri' in given)) {
    return undefined;
  }
  const elsewhere = 'uri' in given && given.uri !== place?.uri;
  if (!place || elsewhere) {
    return given;
  }
  const named = 'cell' in given || 'id' in given;
  const filled = named ? [] : (fields ?? []).map((field) => [field, place[field]] as const);
  return { uri: place.uri, ...Object.fromEntries(filled), ...given };
}

/** What went wrong, for people: without the name of the command that they have just used. */
export function problem(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/^dip\.\w+: /, '');
}

/** Text for a message or a prompt, in which VS Code makes links of `[text](command:…)`: it may quote code, and a click must not run what that says. */
export function said(text: string): string {
  return text.replaceAll('](', '] (');
}

/** Names as a person types them: separated by blanks or commas. Undefined if one cannot be the name of a variable. */
export function parseNames(text: string): string[] | undefined {
  const names = text.split(/[\s,]+/).filter((name) => name !== '');
  return names.every((name) => /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name)) ? names : undefined;
}
