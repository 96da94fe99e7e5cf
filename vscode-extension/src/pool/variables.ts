/** The variables of all namespaces, as rows. */
import type { VariableValue, VariablesReply } from '../generated/server';
import { type HostOf, LOCAL, parseRanks, whose } from '../ranks';
import { bytes } from './words';

/** A value, and the processes that hold it. */
export interface Value {
  local: boolean;
  /** In ascending order. */
  ranks: readonly number[];
  object: VariableValue;
}

/** A name, and what it is bound to: one value if all processes that have it agree. */
export interface Row {
  name: string;
  values: readonly Value[];
}

export interface Variables {
  rows: readonly Row[];
  /** Processes that have not answered: `rank 2`. What is shown of them is what they held before. */
  busy: string;
  /** How many were left out. */
  more: number;
}

/** Whether a value has rows and columns that can be looked at. */
export function isTable({ type }: Pick<VariableValue, 'type'>): boolean {
  return /^(pandas|polars)\..*\b(DataFrame|Series)$|^numpy\.ndarray$|^torch(\.nn\.parameter\.Parameter|\.Tensor)$/.test(
    type,
  );
}

export const none: Variables = { rows: [], busy: '', more: 0 };

/** The processes that a phrase of the server names: `local`, `ranks 0,2-3`, `local and ranks 1-2`. */
export function busyProcesses(text: string): Set<number> {
  const ranks = /ranks? ([\d,\s-]+)/.exec(text)?.[1];
  return new Set([...(/\blocal\b/.test(text) ? [LOCAL] : []), ...(ranks === undefined ? [] : parseRanks(ranks))]);
}

function valueOf(value: VariableValue): Value {
  return {
    local: value.local === true,
    ranks: value.ranks === undefined ? [] : parseRanks(value.ranks),
    object: value,
  };
}

/** A value with only some of its processes. */
function only(value: Value, wanted: (process: number) => boolean): Value | undefined {
  const local = value.local && wanted(LOCAL);
  const ranks = value.ranks.filter(wanted);
  return local || ranks.length > 0 ? { ...value, local, ranks } : undefined;
}

/** Whether two values look alike, by the rule by which the server folds them. */
function alike(a: VariableValue, b: VariableValue): boolean {
  return (
    a.type === b.type &&
    a.text === b.text &&
    a.dtype === b.dtype &&
    a.device === b.device &&
    (a.shape ?? []).join() === (b.shape ?? []).join()
  );
}

function join(values: Value[], value: Value): Value[] {
  const i = values.findIndex((other) => alike(other.object, value.object));
  const same = values[i];
  if (!same) {
    return [...values, value];
  }
  const ranks = [...new Set([...same.ranks, ...value.ranks])].sort((a, b) => a - b);
  return values.with(i, { ...same, local: same.local || value.local, ranks });
}

/**
 * The variables after an answer, which replaces the one before. Data comes first, then functions, classes and modules. A busy
 * process has not answered; what it held before is kept if it is still the same process (`stays`).
 */
export function merge(before: Variables, reply: VariablesReply, stays: (process: number) => boolean): Variables {
  const busy = busyProcesses(reply.busy ?? '');
  const rows = new Map<string, Value[]>();
  for (const { name, values } of reply.variables) {
    rows.set(name, values.map(valueOf));
  }
  for (const { name, values } of before.rows) {
    for (const value of values) {
      const kept = only(value, (process) => busy.has(process) && stays(process));
      if (kept) {
        rows.set(name, join(rows.get(name) ?? [], kept));
      }
    }
  }
  return {
    rows: [...rows]
      .map(([name, values]) => ({ name, values }))
      .sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1)),
    busy: reply.busy ?? '',
    more: reply.more ?? 0,
  };
}

/** What is listed after what: what a cell has made before what it has defined or imported. */
const kinds = ['instance', 'function', 'class', 'module'];

function place({ values }: Row): number {
  return Math.max(0, kinds.indexOf(values[0]?.object.kind ?? ''));
}

/** Whether a row is of a module, which is neither pushed nor pulled, and no loss. */
export function isModule({ values }: Row): boolean {
  return values.every(({ object }) => object.kind === 'module');
}

/** What a value consists of, as rows in its own order. */
export function membersOf(reply: VariablesReply): Row[] {
  return reply.variables.map(({ name, values }) => ({ name, values: values.map(valueOf) }));
}

/** The rows in which each word of a text is part of the name or of a type. */
export function filtered(rows: readonly Row[], text: string): readonly Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter(({ name, values }) => {
    const about = [name, ...values.map(({ object }) => typeText(object))].join(' ').toLowerCase();
    return words.every((word) => about.includes(word));
  });
}

/** Where a value lives, in a pool of so many ranks: `all ranks`, `everywhere`, `local`, `rank 2 only`, `ranks 0,2`. */
export function where(value: Pick<Value, 'local' | 'ranks'>, size: number, hostOf?: HostOf): string {
  const all = size > 1 && value.ranks.length === size;
  if (all) {
    return value.local ? 'everywhere' : 'all ranks';
  }
  return holders(value, hostOf) + (!value.local && value.ranks.length === 1 && size > 1 ? ' only' : '');
}

/** Who has a value: `local`, `rank 2`, `local and ranks 0-3`. */
export function holders({ local, ranks }: Pick<Value, 'local' | 'ranks'>, hostOf?: HostOf): string {
  return whose(local ? [LOCAL, ...ranks] : ranks, hostOf);
}

/** `Tensor[2, 500] float32 cuda:0`: the type without its module, with shape, element type and device. */
export function typeText({ type, shape, dtype, device, length }: VariableValue): string {
  const name = type.slice(type.lastIndexOf('.') + 1);
  const size = shape ? `[${shape.join(', ')}]` : length === undefined ? '' : `[${length}]`;
  return [name + size, dtype, device].filter(Boolean).join(' ');
}

/** The text after a name, in a pool of so many ranks: where it lives, the type, and the value if there is only one. */
export function rowText(row: Row, size = 0, hostOf?: HostOf): string {
  const [first, second] = row.values;
  if (!first) {
    return '';
  }
  if (!second) {
    return [where(first, size, hostOf), valueText(first, true)].filter(Boolean).join(' · ');
  }
  const types = new Set(row.values.map((value) => typeText(value.object)));
  const local = row.values.some((value) => value.local);
  const ranks = row.values.flatMap((value) => value.ranks).sort((a, b) => a - b);
  const type = types.size === 1 ? [...types].join() : `${types.size} types`;
  return `${where({ local, ranks }, size, hostOf)} · ≠ ${row.values.length} values · ${type}`;
}

/** The type of a value, and its text. Where it stands alone, an array goes without. */
export function valueText({ object }: Value, alone: boolean): string {
  const text = (object.shape && alone) || object.kind === 'module' ? '' : object.text;
  return [typeText(object), text].filter((part) => part !== '').join(' · ');
}

/** Everything about a value, a line each. */
export function valueDetails({ local, ranks, object }: Value, hostOf?: HostOf): string[] {
  return [
    `${object.type}${object.shape ? ` of shape (${object.shape.join(', ')})` : ''}`,
    ...(object.dtype ? [object.dtype] : []),
    ...(object.device ? [`on ${object.device}`] : []),
    ...(object.bytes === undefined ? [] : [bytes(object.bytes)]),
    holders({ local, ranks }, hostOf),
  ];
}

/** How much of a value is shown beside another one. */
const columnWidth = 44;

/**
 * A value, or what it consists of, side by side: a column for each group of processes that agree, and a mark at each line in which they
 * do not. `digests` are those of the value's arrays, if there are any.
 */
export function comparison(
  name: string,
  row: Row,
  digests: readonly Value[],
  members: readonly Row[],
  hostOf?: HostOf,
): string {
  const groups = digests.length > 0 ? digests : row.values;
  const lines: [string, string[]][] = [
    ['type', groups.map(({ object }) => object.type)],
    ['shape', groups.map(({ object }) => (object.shape ? `(${object.shape.join(', ')})` : ''))],
    ['dtype', groups.map(({ object }) => object.dtype ?? '')],
    ['device', groups.map(({ object }) => object.device ?? '')],
    ['length', groups.map(({ object }) => (object.shape ? '' : (object.length?.toString() ?? '')))],
    ['digest', groups.map(({ object }) => object.digest ?? '')],
    ['value', groups.map(({ object }) => object.text)],
  ];
  const table = (heads: string[], rows: [string, string[]][]): string[] => {
    const first = Math.max(...rows.map(([label]) => label.length), 6);
    const cut = (text: string): string => (text.length > columnWidth ? `${text.slice(0, columnWidth - 1)}…` : text);
    const widths = heads.map((head, i) =>
      Math.max(head.length, ...rows.map(([, cells]) => cut(cells[i] ?? '').length)),
    );
    const line = (label: string, mark: string, cells: string[]): string =>
      `${label.padEnd(first)} ${mark} ${cells.map((cell, i) => cut(cell).padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd();
    return [
      line('', ' ', heads),
      ...rows.map(([label, cells]) => line(label, new Set(cells).size > 1 ? '≠' : ' ', cells)),
    ];
  };
  const heads = groups.map((group) => holders(group, hostOf));
  const differ = members.filter(({ values }) => values.length > 1);
  const same = members.length - differ.length;
  return [
    groups.length > 1 ? `${name}: ${groups.length} different values` : `${name}: the same on ${heads.join()}`,
    '',
    ...table(
      heads,
      lines.filter(([, cells]) => cells.some((cell) => cell !== '')),
    ),
    ...differ.flatMap((member) => [
      '',
      `${name}${member.name}: ${member.values.length} different values`,
      ...table(
        member.values.map((value) => holders(value, hostOf)),
        [['value', member.values.map((value) => valueText(value, false))]],
      ),
    ]),
    ...(members.length > 0 ? ['', same === 1 ? '1 member is the same' : `${same} members are the same`] : []),
    '',
  ].join('\n');
}

/** The icon of a kind of object. */
export function kindIcon(object: VariableValue): string {
  switch (object.kind) {
    case 'function':
      return 'symbol-method';
    case 'class':
      return 'symbol-class';
    case 'module':
      return 'symbol-module';
    default:
      return object.shape ? 'symbol-array' : 'symbol-variable';
  }
}

/** Whether the local namespace has a variable, so that it can be pushed. */
export function canPush(row: Row): boolean {
  return !isModule(row) && row.values.some((value) => value.local);
}

/** The rank that a variable is pulled from: 0, as `%dipull` has it, or the first that has it; undefined if none has. */
export function pullRank(values: readonly Value[]): number | undefined {
  const ranks = values.flatMap((value) => value.ranks);
  return ranks.length === 0 ? undefined : Math.min(...ranks);
}

/** What names the row of the view that a menu passes to a command. Undefined for what other menus pass: the Uri of a document has a path, too. */
export function pathOf(given: unknown): string | undefined {
  const isRow = typeof given === 'object' && given !== null && 'row' in given && 'path' in given;
  return isRow && typeof given.path === 'string' ? given.path : undefined;
}
