/** The settings as package.json declares them: the server's, from its generated table, and the extension's own. `npm run generate` writes them there. */
import { type SettingRow, settings } from './src/generated/server';

/** A row of `contributes.configuration.properties`. */
export interface Property {
  type: SettingRow['type'];
  default: SettingRow['default'];
  markdownDescription: string;
  scope: 'machine' | 'machine-overridable' | 'resource' | 'window';
  enum?: readonly string[];
  enumDescriptions?: readonly string[];
  items?: { type: 'string'; enum?: readonly string[] };
  additionalProperties?: { type: 'string' };
  uniqueItems?: true;
  minimum?: number;
}

/** The extension's own settings. */
const own: Record<string, Property> = {
  'dip.confirmRestart': {
    type: 'boolean',
    default: true,
    markdownDescription: 'Ask before a restart or a kill ends processes that hold variables.',
    scope: 'window',
  },
  'dip.hang.notify': {
    type: 'boolean',
    default: true,
    markdownDescription:
      'Notify, once each, of ranks that wait for others and may not go on by themselves. ' +
      'Problems, lenses and the Ranks view show them in any case.',
    scope: 'window',
  },
  'dip.notifyAfter': {
    type: 'number',
    default: 60,
    minimum: 0,
    markdownDescription:
      'Notify of the end of a run that has taken longer than so many seconds, if you do not look at the window then. 0: never.',
    scope: 'window',
  },
  'dip.keys': {
    type: 'boolean',
    default: true,
    markdownDescription:
      'Keys in Python files with cells: Shift+Enter runs the cell and goes to the next one, ' +
      'Ctrl+Alt+Enter runs it on all ranks, and so on. They win over those of the Python and Jupyter extensions.',
    scope: 'window',
  },
  'dip.cells.decorations': {
    type: 'boolean',
    default: true,
    markdownDescription: 'Draw a line above each cell, and the background of the one with the cursor.',
    scope: 'resource',
  },
  'dip.cells.status': {
    type: 'boolean',
    default: true,
    markdownDescription: 'Show in the gutter how each cell ran.',
    scope: 'resource',
  },
  'dip.results.network': {
    type: 'boolean',
    default: false,
    markdownDescription:
      'Let rich output load scripts, images and data from the network. Outputs run in frames of their own in any case, and reach nothing of VS Code.',
    scope: 'window',
  },
  'dip.results.reveal': {
    type: 'string',
    enum: ['never', 'onOutput', 'onRich', 'onError'],
    enumDescriptions: [
      'Never.',
      'At the first output of each run.',
      'At the first plot, table or other rich output, and at failures.',
      'At failures.',
    ],
    default: 'onOutput',
    markdownDescription: 'When a run opens the results panel. The focus stays where it is.',
    scope: 'window',
  },
  'dip.server.path': {
    type: 'string',
    default: '',
    markdownDescription: 'The `dipls` binary to use instead of the one in the extension: an absolute path.',
    scope: 'machine',
  },
};

/** Settings of the server that have no effect here: failures are in the results, the problems and the output. */
const meaningless = ['dip.failures'];

/** Settings with another default here: the results view has what cells print, and each diagnostic would be underlined and counted. */
const defaults: Readonly<Record<string, Property['default']>> = { 'dip.diagnostics.output': 'off' };

/** The settings that say what is run, and what output may reach. Only a trusted workspace may set them, and none may set `dip.server.path`. */
export const executable = [
  'dip.python',
  'dip.preload',
  'dip.app',
  'dip.env',
  'dip.envFile',
  'dip.hosts',
  'dip.hostsPrologue',
  'dip.results.network',
  'dip.server.path',
];

function property(row: SettingRow): Property {
  const { type, default: initial, doc } = row;
  return {
    type,
    ...(type === 'array'
      ? {
          items: { type: 'string' as const, ...(row.enum && { enum: row.enum }) },
          ...(row.enum && { uniqueItems: true as const }),
        }
      : row.enum && { enum: row.enum }),
    ...(type === 'object' && { additionalProperties: { type: 'string' as const } }),
    ...(type === 'integer' && { minimum: Math.min(0, Number(initial)) }),
    default: defaults[row.key] ?? initial,
    markdownDescription: doc,
    // A path on this machine is not synchronized to others.
    scope: row.key === 'dip.python' ? 'machine-overridable' : 'resource',
  };
}

/** What package.json's `contributes.configuration` has to be. */
export function configuration(): { title: string; properties: Record<string, Property> } {
  const rows = settings.filter(({ key }) => !meaningless.includes(key)).map((row) => [row.key, property(row)] as const);
  return { title: 'Dip', properties: { ...Object.fromEntries(rows), ...own } };
}
