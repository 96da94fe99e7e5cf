// Made from the server's types and tables by "go generate ./lsp".

export interface RunQueuedEvent {
  event: 'run_queued';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** as in run_started */
  path?: string;
  /** likewise */
  line?: number;
  /** likewise */
  title?: string;
  /** where it would go if its turn were now */
  target: string;
  /** the cell's text as it was when it was started, with its header; "": no cell as a whole */
  source?: string;
  /** who has started it: "VS Code", "dipls exec" */
  by?: string;
  /** when it was started */
  queued: string;
}

export interface RunStartedEvent {
  event: 'run_started';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** file of the cell */
  path?: string;
  /** 1-based line of the file on which the code starts */
  line?: number;
  /** title of the cell */
  title?: string;
  /** "local", "remote", "everywhere" or "ranks:LIST" */
  target: string;
  /** "all" or ranks: whose output a view shows. For host:gpu2 see rank_state's seen */
  see: string;
  /** true: a view shows errors at once, everything else at the end */
  quiet?: boolean;
  /** true: autodip decided where the run goes */
  autodip?: boolean;
  /** id of the run whose cell has asked for this one */
  parent?: string;
  /** directory of the run's journal; it exists once there is something to keep */
  journal?: string;
  /** when its turn came; only a session that outlives its fronts tells it */
  began?: string;
}

export interface StreamEvent {
  event: 'stream';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** "stdout" or "stderr" */
  name: 'stdout' | 'stderr';
  text: string;
}

export interface DisplayEvent {
  event: 'display';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** MIME type → JSON: text or base64 as a string, application/json any value */
  data?: Record<string, unknown>;
  /** about the data, as in Jupyter's messages */
  metadata?: Record<string, unknown>;
  /** MIME type → file of the journal that holds it */
  files?: Record<string, string>;
  /** names a display that may be updated later */
  display_id?: string;
  /** true: replaces the display of that display_id */
  update?: boolean;
  /** true: remove the output of this process; there is no data */
  clear?: boolean;
  /** with clear: not before the next output */
  wait?: boolean;
}

export interface ResultEvent {
  event: 'result';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  execution_count: number;
  data: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  files?: Record<string, string>;
}

export interface Frame {
  file: string;
  /** 1-based */
  line: number;
  /** of the function */
  name: string;
  /** the run that compiled the code: the line is one of that run's text; "": a file that was imported */
  run?: string;
}

export interface FailureEvent {
  event: 'error';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  ename: string;
  evalue: string;
  /** lines, with ANSI colours */
  traceback: string[];
  /** file of the cell */
  path?: string;
  /** 1-based line of the innermost frame in the cell's file; absent if there is none */
  line?: number;
  /** outermost first */
  frames?: Frame[];
}

export interface RankStateEvent {
  event: 'rank_state';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  state: 'busy' | 'ready' | 'interrupting' | 'dead' | 'stopped';
  /** with ready and stopped, and with dead in a run: how its part ended */
  status?: 'ok' | 'error' | 'interrupted' | 'died' | 'skipped';
  /** how long its part took */
  seconds?: number;
  /** with dead: "rank 2 was killed by SIGKILL" */
  reason?: string;
  /** with busy, of a rank of a pool that is on several hosts: which one it is on */
  host?: string;
  /** with busy, where see goes by the pool: a view shows this rank's output */
  seen?: boolean;
}

export interface HostRanks {
  /** its name */
  host: string;
  /** a list such as "8-15" */
  ranks: string;
}

export interface PoolStateEvent {
  event: 'pool_state';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  state: 'none' | 'starting' | 'ready' | 'dead' | 'stopped';
  /** number of ranks */
  size?: number;
  /** with dead: why; with stopped: why it could not be started */
  reason?: string;
  /** with starting: what the start waits for, such as "job 4711 waits: Resources" */
  text?: string;
  /** the directive for cells that do not say where they run, such as "%%dip --see all" */
  autodip?: string;
  /** of a pool that is on several hosts, in the order of the ranks */
  hosts?: HostRanks[];
}

export interface RunFinishedEvent {
  event: 'run_finished';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** as in run_started */
  parent?: string;
  status: 'ok' | 'error' | 'interrupted' | 'died' | 'skipped';
  /** the argument of sys.exit, if the code failed by that: the highest of all processes */
  exit_code?: number;
  /** from its start; 0 if it never started */
  seconds: number;
  /** a sentence, where the status alone says too little */
  reason?: string;
}

export interface Place {
  ranks: number[];
  /** file of the innermost frame in the user's code */
  path?: string;
  /** 1-based, in the text of the run that compiled it; 0: they are in no file */
  line?: number;
  /** the run that compiled the code, as in a frame */
  run?: string;
  /** of the function */
  name?: string;
  /** "in all_reduce", "has finished this cell", "in next(loader)", … */
  why: string;
}

export interface HangEvent {
  event: 'hang';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** number of the finding in its run, from 1 on */
  hang: number;
  /** what kind of finding it is: "finished", "raised", "elsewhere", … */
  variant: string;
  /** info: as far as is known, ranks are only slow; warning: it may not end by itself */
  level: 'info' | 'warning' | 'error';
  /** "default group", or the name of another one */
  group?: string;
  /** its members */
  group_ranks?: number[];
  /** "all_reduce" */
  operation?: string;
  /** its number among the group's collectives, from 1 */
  sequence?: number;
  /** "float32[1024]" */
  tensors?: string;
  /** who waits */
  waiting?: Place[];
  /** who is waited for */
  missing?: Place[];
  /** all of it as a sentence: "all_reduce #17: ranks 0-1,3 wait at train.py:41 for rank 2, …" */
  text: string;
  /** it is over; then only hang, variant, level and text are set, as they were last */
  gone?: boolean;
}

export interface InputEvent {
  event: 'input';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  /** number of the question in its run, from 1 on */
  input: number;
  state: 'asked' | 'answered' | 'withdrawn';
  prompt?: string;
  /** what is typed is not to be shown, and is kept nowhere */
  password?: boolean;
  /** who asks, or was answered, or does not ask any more; absent for the local namespace */
  ranks?: number[];
  /** with answered: what was typed; never of a password */
  text?: string;
  /** with answered, in place of a text: nothing more is typed */
  eof?: boolean;
  /** with answered: who still asks */
  waiting?: number[];
}

export interface LogEvent {
  event: 'log';
  /** id of the run */
  run?: string;
  /** index of the run's cell, as "dipls cells" prints it */
  cell?: number;
  /** the rank */
  rank?: number;
  /** true: the local namespace */
  local?: boolean;
  level: 'info' | 'warning' | 'error';
  text: string;
  /** the file or directory that the sentence points to */
  path?: string;
  /** true: output of the run was left out here */
  missing?: boolean;
}

/** What happens in runs and pools. */
export type DipEvent =
  | RunQueuedEvent
  | RunStartedEvent
  | StreamEvent
  | DisplayEvent
  | ResultEvent
  | FailureEvent
  | RankStateEvent
  | PoolStateEvent
  | RunFinishedEvent
  | HangEvent
  | InputEvent
  | LogEvent;

export interface Position {
  line: number;
  character: number;
}

export interface CellArgs {
  /** the document */
  uri: string;
  /** number of the cell, from 1 */
  cell?: number;
  /** a place in the cell, in place of the number */
  position?: Position;
  /** the cell's id, as lenses and code actions have it: it stays when text moves, and wins over the number */
  id?: number;
  /** where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say */
  see?: string;
}

export interface RunReply {
  /** of the first cell */
  run: string;
  /** how many cells will run, where it can be more than one */
  cells?: number;
}

export interface DocumentArgs {
  /** the document */
  uri: string;
  /** where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say */
  see?: string;
}

export interface DocumentsArgs {
  /** the documents, of one workspace, in the order in which they run */
  uris: string[];
  /** where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say */
  see?: string;
}

export interface DocumentsReply {
  /** for each document those of its cells that have code */
  runs: string[][];
}

export interface Range {
  start: Position;
  end: Position;
}

export interface SelectionArgs {
  /** the document */
  uri: string;
  /** the selection; if it is empty, its line */
  range: Range;
  /** where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say */
  see?: string;
}

export interface CodeArgs {
  /** the code; cells in it run one after the other */
  code: string;
  /** where code runs that does not say so: remote, local, everywhere or ranks:LIST; without it, as autodip says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2 */
  see?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface CompleteArgs {
  /** the code up to the cursor */
  code: string;
  /** where it would run, as for runCode */
  target?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface CompleteMatch {
  text: string;
  /** as in dip.variables; also property, param, keyword or magic */
  kind?: string;
}

export interface CompleteReply {
  /** the end of the code, in whose place a match stands */
  replaces: string;
  matches: CompleteMatch[];
}

export interface LineArgs {
  /** the document */
  uri: string;
  /** a place in the line */
  position: Position;
  /** the magic as it was seen, from its percent sign on; nothing runs if the line has changed */
  text?: string;
}

export interface MakePoolArgs {
  /** all, or a list such as 0,2-3 */
  gpus?: string | number | number[];
  /** number of ranks */
  ranks?: number;
  /** the app, see the setting dip.app */
  app?: string;
  /** end a pool that is there, and make a new one */
  restart?: boolean;
  /** how long it may take, in seconds */
  timeout?: number;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface WhereArgs {
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface TextReply {
  text: string;
}

export type NoReply = Record<string, never>;

export interface InterruptArgs {
  /** id of the run; without it, all runs */
  run?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface InterruptReply {
  interrupted: number;
}

export interface AnswerInputArgs {
  /** id of the run; without it, all runs of the workspace */
  run?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface AnswerInputReply {
  asked: number;
}

export interface FreeArgs {
  /** id of the run; without it, whatever is on the ranks */
  run?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface FreeReply {
  freed: boolean;
}

export interface PushArgs {
  /** names of the variables */
  names: string[];
  /** all, or ranks such as 0,2-3, host:gpu2 or each:0; without it all */
  ranks?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface PushAndRunArgs {
  /** names of the variables */
  names: string[];
  /** the document */
  uri: string;
  /** number of the cell, from 1 */
  cell?: number;
  /** a place in the cell, in place of the number */
  position?: Position;
  /** the cell's id, as lenses and code actions have it: it stays when text moves, and wins over the number */
  id?: number;
  /** where it runs: remote, local, everywhere or ranks:LIST (ranks:0-3, ranks:host:gpu2); else where the cell says */
  target?: string;
  /** whose output is shown: all, or ranks such as 0,2-4 or host:gpu2; without it, as the cell or the settings say */
  see?: string;
}

export interface PullArgs {
  /** names of the variables */
  names: string[];
  /** the rank; without it 0 */
  rank?: number;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface AutodipArgs {
  /** on or off; without it nothing changes */
  on?: boolean;
  /** arguments of a %%dip */
  flags?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface AutodipReply {
  autodip: string;
}

export interface StatusArgs {
  /** also the memory of the processes; takes a moment */
  memory?: boolean;
}

export interface SessionStatus {
  name: string;
  /** as in dip/session */
  keep: number;
  /** when it was started */
  since: string;
  /** the programs that are attached */
  clients: string[];
}

export interface HostInfo {
  /** its name, as ranks have it */
  host: string;
  /** "reachable", "unreachable" or "lost" */
  state: string;
  /** with lost: why */
  reason?: string;
  /** how many seconds the time that it shows is ahead of ours */
  clock: number;
}

export interface CurrentRun {
  run: string;
  uri?: string;
  /** number of the cell as the document is now */
  cell?: number;
  /** of the cell, or the line that runs */
  title: string;
  /** since its start */
  seconds: number;
}

export interface RankStatus {
  rank: number;
  /** the name of its machine; "" if that has none */
  host: string;
  pid: number;
  device: string;
  state: 'starting' | 'ready' | 'busy' | 'interrupting' | 'dead' | 'stopped';
  /** proportional share of memory; null: unknown */
  host_bytes: number | null;
  /** null: unknown */
  gpu_bytes: number | null;
  /** GPULoad is for how much of the last moment its GPU was busy, in percent, whoever kept it busy; null: unknown. */
  gpu_load?: number;
  /** the run whose part it has begun */
  run: CurrentRun | null;
}

export interface LocalStatus {
  /** the name of its machine; "" if that has none */
  host: string;
  pid: number;
  state: 'starting' | 'ready' | 'busy' | 'interrupting' | 'dead' | 'stopped';
  host_bytes: number | null;
  /** the run whose part it has begun */
  run: CurrentRun | null;
}

export interface PoolStatus {
  /** "none" before there is one */
  state: 'none' | 'starting' | 'ready' | 'busy' | 'interrupting' | 'dead' | 'stopped';
  reason: string;
  /** with starting: what the start waits for */
  text?: string;
  size: number;
  backend: string;
  app: string;
  /** "fork" or "spawn" */
  method: '' | 'fork' | 'spawn';
  verbose: boolean;
  autodip: string;
  /** of a pool that is not on this machine, in the order of the ranks */
  hosts?: HostInfo[];
  ranks: RankStatus[];
  local: LocalStatus | null;
}

export interface RunStatus {
  run: string;
  /** queued or running */
  state: 'queued' | 'running';
  uri?: string;
  /** number of the cell as the document is now */
  cell?: number;
  target?: string;
  /** processes that have ended their part */
  done: number;
  /** processes that have begun */
  parts: number;
  /** which processes have failed already, though others go on, and how: "rank 1: ValueError" */
  failed?: string;
  /** who waits for whom, as sentences */
  hang?: string;
}

export interface WorkspaceStatus {
  folder: string;
  /** null: it belongs to the editor, and ends with it */
  session: SessionStatus | null;
  pool: PoolStatus;
  /** the runs that have not ended */
  runs: RunStatus[];
}

export interface StatusReply {
  workspaces: WorkspaceStatus[];
}

export interface GpuInfo {
  /** as torch numbers it, and dip.makePool takes it */
  index: number;
  /** "" for a part of a GPU */
  name: string;
  /** 0 if unknown */
  total_bytes: number;
  /** by all processes */
  used_bytes: number;
}

export interface GpusReply {
  gpus: GpuInfo[];
}

export interface InterpreterInfo {
  path: string;
  /** of Python; "" if it is not known */
  version: string;
  /** its version; "" if it is not installed */
  torch: string;
  /** venv, conda, pyenv, uv or system */
  kind: string;
  /** it is the one that the settings mean now */
  current?: boolean;
}

export interface InterpretersReply {
  /** those that are nearest to the folder first */
  interpreters: InterpreterInfo[];
}

export interface VariablesArgs {
  /** only those of this rank; -1 is the local namespace; without it, of all processes */
  rank?: number;
  /** what this value consists of, such as model.fc or batch['x'][0]; properties and calls are not evaluated */
  of?: string;
  /** with of: only that value, with what tells arrays of one shape apart; they are read as a whole */
  digest?: boolean;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface VariableValue {
  local?: true;
  /** a list such as 0,2-3 */
  ranks?: string;
  name?: string;
  type: string;
  /** "instance", "function", "class", "module" or "property" */
  kind: 'instance' | 'function' | 'class' | 'module' | 'property';
  /** its value, cut short; "" where there is none */
  text: string;
  shape?: number[];
  dtype?: string;
  device?: string;
  /** of an array or tensor */
  bytes?: number;
  /** of a built-in container */
  length?: number;
  signature?: string;
  doc?: string;
  /** it consists of values that can be asked for */
  members?: boolean;
  /** tells arrays apart: "norm 1.5 · crc 9c1185a5" */
  digest?: string;
}

export interface Variable {
  name: string;
  values: VariableValue[];
}

export interface VariablesReply {
  /** by name; with of in their own order, each named by the step that leads to it: .weight, [0], ['x'] */
  variables: Variable[];
  /** processes that were busy and so have told nothing */
  busy?: string;
  /** how many were left out */
  more?: number;
}

export interface ColumnFilter {
  column: number;
  text: string;
}

export interface TableArgs {
  /** of a variable, or a dotted name */
  name: string;
  /** only of this rank; -1 is the local namespace; without it, of all processes */
  rank?: number;
  /** of an array of more than two dimensions: where in those before the last two */
  place?: number[];
  /** the first row, counted as they are sorted and filtered */
  start?: number;
  /** how many rows, at most 500 */
  rows?: number;
  /** the first column */
  first_column?: number;
  /** how many columns, at most 200 */
  columns?: number;
  /** sort by this column, from 0; without it, rows are in their own order */
  sort?: number;
  /** from the highest to the lowest */
  descending?: boolean;
  /** which rows: for a column, a text that its cells contain, or a comparison such as >= 3 */
  filters?: ColumnFilter[];
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface TableColumn {
  name: string;
  dtype: string;
}

export interface TablePage {
  found: boolean;
  /** why there is none, if it is not Found */
  reason?: string;
  /** such as pandas.core.frame.DataFrame */
  type?: string;
  /** of all of it */
  shape?: number[];
  /** how many rows pass the filters */
  total?: number;
  /** the first row of the page */
  start?: number;
  /** from 0 of the page */
  first_column?: number;
  /** how many there are */
  columns?: number;
  /** the columns of the page */
  names?: TableColumn[];
  /** of the page's rows */
  labels?: string[];
  /** by row, each of at most 200 characters */
  cells?: string[][];
}

export interface Table {
  rank: number;
  /** null: it has not answered */
  page?: TablePage;
  /** it could not answer in time */
  busy?: boolean;
}

export interface TableReply {
  /** of the processes, the local namespace first */
  tables: Table[];
}

export interface StackArgs {
  /** only this rank; -1 is the local namespace; without it, all processes */
  rank?: number;
  /** also in native code, if py-spy is installed; takes a moment */
  native?: boolean;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface StackFrame {
  file: string;
  line: number;
  /** of the function */
  name: string;
  /** the run whose request brought the code, also if another process ran that one; "": none did */
  run: string;
  /** the line's text, without the blanks around it */
  source?: string;
}

export interface ThreadFrames {
  /** its name */
  thread: string;
  main: boolean;
  /** outermost first; none: it waits for a cell */
  frames: StackFrame[];
}

export interface ProcessStack {
  /** -1: the local namespace */
  rank: number;
  /** true: the local namespace */
  local?: boolean;
  /** the threads, the main one first; of each the frames, outermost first */
  text?: string;
  /** why there is no text */
  error?: string;
  /** what text says, by thread */
  frames?: ThreadFrames[];
}

export interface StackReply {
  stacks: ProcessStack[];
  /** the same for people: equal stacks once, with the processes that have them; the user's code comes first */
  folded: string;
}

export interface ShowStacksArgs {
  /** id of the run; without it, the latest one that goes on */
  run?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface ShowReply {
  path: string;
  /** the client has opened it */
  shown: boolean;
}

export interface ShowOutputArgs {
  /** id of the run */
  run: string;
  /** only this rank; without it, all ranks and the local namespace, folded */
  rank?: number;
}

export interface ShowQuestionReply {
  shown: number;
}

export interface RunsArgs {
  /** only runs of this file, or of files below this folder: an absolute path, or a name without a folder */
  path?: string;
  /** only of this cell: its number, or a part of its title */
  cell?: string;
  /** only those that ended so, or are running, or killed */
  status?: ('ok' | 'error' | 'interrupted' | 'died' | 'running' | 'killed')[];
  /** only those that began then or later, as in 2026-01-31T12:00:00Z */
  since?: string;
  /** so many of the latest; without it, all */
  limit?: number;
  /** with the code that ran */
  code?: boolean;
}

export interface PastRun {
  run: string;
  /** the run whose cell has asked for it */
  parent?: string;
  /** file of the cell */
  path?: string;
  /** of the file on which the code starts, from 1 */
  line?: number;
  /** its number, from 1; 0: it was none of a file */
  cell: number;
  title: string;
  target: string;
  /** one of PastStatuses */
  status: 'ok' | 'error' | 'interrupted' | 'died' | 'running' | 'killed';
  reason?: string;
  started: string;
  /** that it took; 0 while it goes on, and if it was killed */
  seconds: number;
  /** bytes of GPU memory that torch had allocated at most on one of its processes; absent: not known */
  peak_memory?: number;
  /** directory of what it has put out; absent: it was silent */
  journal?: string;
  /** that ran; absent: of a silent run it was too long to keep */
  code?: string;
  /** pid of the process that ran it */
  server: number;
}

export interface RunsReply {
  /** the latest first */
  runs: PastRun[];
}

export interface RecallArgs {
  /** id of the run */
  run: string;
}

export interface RecallReply {
  run: PastRun;
  events: DipEvent[];
  /** output was left out: there was too much */
  more: boolean;
  /** what has become of what it has left, as in a cell of dip/cells; absent if that is there */
  gone?: string;
}

export interface ExportArgs {
  /** the document */
  uri: string;
  /** ipynb, html or torchrun */
  format: string;
  /** the file to write, an absolute path; without it, one beside the document */
  path?: string;
  /** replace a file that is there */
  force?: boolean;
}

export interface ExportReply {
  path: string;
}

export interface SessionsArgs {
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface Client {
  /** "VS Code", "dipls attach" */
  program: string;
  pid: number;
  since: string;
}

export interface AboutRun {
  id: string;
  title?: string;
  /** file of the cell */
  path?: string;
  /** 1-based */
  line?: number;
  /** when its turn came; null: it waits */
  since?: string;
  /** who has started it */
  by?: string;
}

export interface ListedSession {
  /** "": it belongs to its front, and ends with it */
  name?: string;
  /** its folder */
  dir: string;
  /** of its process */
  pid: number;
  version?: string;
  /** when it was started */
  since: string;
  /** the interpreter that runs; "": none does */
  python?: string;
  /** something has run in it; to import ahead of time does not count */
  used: boolean;
  /** when it ends if nothing happens; null: somebody is attached, something runs, or it is kept for ever */
  ends?: string;
  /** who is attached, the earliest first */
  clients?: Client[];
  /** that have not ended, in the order of their starts */
  runs?: AboutRun[];
  /** of the pool, as in [event.PoolState] */
  state: string;
  /** of the pool */
  ranks: number;
  /** of the ranks: "cuda:0", "cpu" */
  devices?: string[];
  /** since when the pool has these; null: there are no ranks */
  pool_since?: string;
  /** bytes of GPU memory that its processes hold, if asked for */
  memory?: number;
  /** the directory with the journals of its runs; "": none are kept */
  journal?: string;
  /** the file in which it tells who did what; "": it is the front's */
  log?: string;
  /** why it cannot be asked, and what to do, a sentence; then only what its directory tells is known */
  problem?: string;
  /** as in dip/session, in seconds */
  keep: number;
  /** all of it in a line, for people */
  text: string;
  /** the workspace is attached to it */
  current: boolean;
}

export interface SessionsReply {
  sessions: ListedSession[];
  /** the workspace's folder, if only another's session is there: dip.attachSession with this dir starts it */
  own?: string;
}

export interface AttachSessionArgs {
  /** of the session; without it that of the folder dir, and without both the user is asked */
  name?: string;
  /** the folder of the session; without it the workspace's, whose own session is started if there is no name */
  dir?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface RenameSessionArgs {
  /** the new name */
  name: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface StopSessionArgs {
  /** of the session; without it the workspace's */
  name?: string;
  /** the folder of the session; without it that of the workspace */
  dir?: string;
  /** a document of the workspace; without it, the workspace that was used last */
  uri?: string;
}

export interface ClearArgs {
  /** the document */
  uri: string;
}

/** The argument of each command. */
export interface CommandArguments {
  'dip.runCell': CellArgs;
  'dip.runAbove': CellArgs;
  'dip.runBelow': CellArgs;
  'dip.runAll': DocumentArgs;
  'dip.runDocuments': DocumentsArgs;
  'dip.runSelection': SelectionArgs;
  'dip.runCode': CodeArgs;
  'dip.complete': CompleteArgs;
  'dip.runLine': LineArgs;
  'dip.makePool': MakePoolArgs;
  'dip.restartPool': WhereArgs;
  'dip.killPool': WhereArgs;
  'dip.restartLocal': WhereArgs;
  'dip.restart': WhereArgs;
  'dip.restartAndRunAll': DocumentArgs;
  'dip.restartAndRunTo': CellArgs;
  'dip.interrupt': InterruptArgs;
  'dip.answerInput': AnswerInputArgs;
  'dip.free': FreeArgs;
  'dip.push': PushArgs;
  'dip.pushAndRun': PushAndRunArgs;
  'dip.pull': PullArgs;
  'dip.autodip': AutodipArgs;
  'dip.status': StatusArgs;
  'dip.gpus': WhereArgs;
  'dip.interpreters': WhereArgs;
  'dip.variables': VariablesArgs;
  'dip.table': TableArgs;
  'dip.stack': StackArgs;
  'dip.showStacks': ShowStacksArgs;
  'dip.showOutput': ShowOutputArgs;
  'dip.showQuestion': WhereArgs;
  'dip.runs': RunsArgs;
  'dip.recall': RecallArgs;
  'dip.export': ExportArgs;
  'dip.sessions': SessionsArgs;
  'dip.attachSession': AttachSessionArgs;
  'dip.renameSession': RenameSessionArgs;
  'dip.stopSession': StopSessionArgs;
  'dip.freeMemory': WhereArgs;
  'dip.clear': ClearArgs;
}

/** What each command answers. */
export interface CommandAnswers {
  'dip.runCell': RunReply;
  'dip.runAbove': RunReply;
  'dip.runBelow': RunReply;
  'dip.runAll': RunReply;
  'dip.runDocuments': DocumentsReply;
  'dip.runSelection': RunReply;
  'dip.runCode': RunReply;
  'dip.complete': CompleteReply;
  'dip.runLine': RunReply;
  'dip.makePool': RunReply;
  'dip.restartPool': TextReply;
  'dip.killPool': TextReply;
  'dip.restartLocal': NoReply;
  'dip.restart': NoReply;
  'dip.restartAndRunAll': RunReply;
  'dip.restartAndRunTo': RunReply;
  'dip.interrupt': InterruptReply;
  'dip.answerInput': AnswerInputReply;
  'dip.free': FreeReply;
  'dip.push': RunReply;
  'dip.pushAndRun': RunReply;
  'dip.pull': RunReply;
  'dip.autodip': AutodipReply;
  'dip.status': StatusReply;
  'dip.gpus': GpusReply;
  'dip.interpreters': InterpretersReply;
  'dip.variables': VariablesReply;
  'dip.table': TableReply;
  'dip.stack': StackReply;
  'dip.showStacks': ShowReply;
  'dip.showOutput': ShowReply;
  'dip.showQuestion': ShowQuestionReply;
  'dip.runs': RunsReply;
  'dip.recall': RecallReply;
  'dip.export': ExportReply;
  'dip.sessions': SessionsReply;
  'dip.attachSession': TextReply;
  'dip.renameSession': TextReply;
  'dip.stopSession': TextReply;
  'dip.freeMemory': RunReply;
  'dip.clear': NoReply;
}

export type CommandName = keyof CommandArguments;

export interface CommandRow {
  readonly name: CommandName;
  readonly title: string;
}

/** All commands. */
export const commands: readonly CommandRow[] = [
  {
    name: 'dip.runCell',
    title: 'Run cell',
  },
  {
    name: 'dip.runAbove',
    title: 'Run cells above',
  },
  {
    name: 'dip.runBelow',
    title: 'Run cell and below',
  },
  {
    name: 'dip.runAll',
    title: 'Run all cells',
  },
  {
    name: 'dip.runDocuments',
    title: 'Run documents',
  },
  {
    name: 'dip.runSelection',
    title: 'Run selection',
  },
  {
    name: 'dip.runCode',
    title: 'Run code',
  },
  {
    name: 'dip.complete',
    title: 'Complete code',
  },
  {
    name: 'dip.runLine',
    title: 'Run line magic',
  },
  {
    name: 'dip.makePool',
    title: 'Make pool',
  },
  {
    name: 'dip.restartPool',
    title: 'Restart pool',
  },
  {
    name: 'dip.killPool',
    title: 'End pool',
  },
  {
    name: 'dip.restartLocal',
    title: 'Restart local namespace',
  },
  {
    name: 'dip.restart',
    title: 'Restart Python',
  },
  {
    name: 'dip.restartAndRunAll',
    title: 'Restart and run all',
  },
  {
    name: 'dip.restartAndRunTo',
    title: 'Restart and run up to here',
  },
  {
    name: 'dip.interrupt',
    title: 'Interrupt',
  },
  {
    name: 'dip.answerInput',
    title: 'Answer input',
  },
  {
    name: 'dip.free',
    title: 'Free ranks',
  },
  {
    name: 'dip.push',
    title: 'Push variables to the ranks',
  },
  {
    name: 'dip.pushAndRun',
    title: 'Push variables and run cell',
  },
  {
    name: 'dip.pull',
    title: 'Pull variables from a rank',
  },
  {
    name: 'dip.autodip',
    title: 'Switch autodip',
  },
  {
    name: 'dip.status',
    title: 'Status',
  },
  {
    name: 'dip.gpus',
    title: 'GPUs',
  },
  {
    name: 'dip.interpreters',
    title: 'Interpreters',
  },
  {
    name: 'dip.variables',
    title: 'Variables',
  },
  {
    name: 'dip.table',
    title: 'Part of a table',
  },
  {
    name: 'dip.stack',
    title: 'Stacks',
  },
  {
    name: 'dip.showStacks',
    title: 'Show stacks',
  },
  {
    name: 'dip.showOutput',
    title: 'Show output',
  },
  {
    name: 'dip.showQuestion',
    title: 'Show question',
  },
  {
    name: 'dip.runs',
    title: 'Runs',
  },
  {
    name: 'dip.recall',
    title: 'Recall run',
  },
  {
    name: 'dip.export',
    title: 'Export',
  },
  {
    name: 'dip.sessions',
    title: 'Sessions',
  },
  {
    name: 'dip.attachSession',
    title: 'Attach to another session',
  },
  {
    name: 'dip.renameSession',
    title: 'Rename session',
  },
  {
    name: 'dip.stopSession',
    title: 'End session',
  },
  {
    name: 'dip.freeMemory',
    title: 'Free cached GPU memory',
  },
  {
    name: 'dip.clear',
    title: 'Clear outcomes of cells',
  },
];

/** Settings without their prefix. */
export interface Settings {
  /**
   * The interpreter: a path, relative ones from the folder, or a name on `PATH`; `~` and `${workspaceFolder}` are
   * replaced. If it is empty, the first of: `$DIPLS_PYTHON`, an active virtualenv or conda environment, `.venv` in
   * the folder or above it, `python3`.
   */
  python?: string;
  /**
   * Comments that begin cells besides `# %%` and the like, as `["# COMMAND ----------"]` for Databricks or `["# +",
   * "# -"]` for jupytext's light format. What follows one on its line is the cell's title.
   */
  cellMarkers?: string[];
  /**
   * Where cells run that do not say so themselves, if autodip is off and their file has no line such as `# dip:
   * remote`: `remote`, `local`, `everywhere`, or `ranks:LIST` such as `ranks:0-3`. Cells that begin with a magic
   * stay local. If it is empty, in the local namespace.
   */
  target?: string;
  /**
   * What `sys.argv` has behind the file in cells, as `["--lr", "3e-4"]`; it counts from the next cell on.
   * `sys.argv[0]` is the file's absolute path.
   */
  args?: string[];
  /**
   * Variables of all processes, on every host, as `{"HF_HUB_OFFLINE": "1"}`. They count before those of
   * `dip.envFile`, and those before what is inherited.
   */
  env?: Readonly<Record<string, string>>;
  /**
   * A file of such variables, a line `NAME=VALUE` each: a path, relative ones from the folder; `~` and
   * `${workspaceFolder}` are replaced. It is read when Python starts, and never before the folder's code may run. A
   * `.env` need not be there. If it is empty, none is read.
   */
  envFile?: string;
  /**
   * The working directory of all processes: a path, relative ones from the folder; `~` and `${workspaceFolder}` are
   * replaced. If it is empty, the folder.
   */
  cwd?: string;
  /**
   * `on`: modules of the project that were edited since they were imported are reloaded before each cell, locally
   * and on all ranks alike. One that cannot be imported says so and stays as it was. With 2,000 imported files a
   * cell takes 5 to 10 ms more.
   */
  autoreload?: 'off' | 'on';
  /** Number of ranks of a pool, of all its hosts together. 0: one for each GPU, or 2 on a machine without GPUs. */
  ranks?: number;
  /** GPUs of a pool, one rank each, in this order: `all`, or a list such as `3,1` or `0-3`, numbered as torch does. */
  gpus?: string;
  /**
   * Hosts that the ranks of a pool run on: names for ssh, such as `gpu1,user@gpu2:4` (`:4`: four ranks there);
   * `slurm`, in an allocation or with flags for one of its own, such as `slurm -N 4 --gpus-per-node=8`;
   * `exec[gpu1,gpu2] COMMAND`, any launcher; or `join[4]`, hosts that join by `dipls join`. If it is empty, this
   * machine.
   */
  hosts?: string;
  /**
   * Number of ranks on each host of `dip.hosts` that does not say so itself. 0: one for each GPU, or 2 on a host
   * without GPUs.
   */
  ranksPerHost?: number;
  /**
   * For how many seconds a host of `dip.hosts` may be silent before its ranks count as dead. Its cells go on
   * meanwhile.
   */
  hostsLease?: number;
  /**
   * The ports at which hosts of `dip.hosts` dial the session, and each other while a variable is pushed, such as
   * `7000-7010`. If it is empty, any port. `none`: the session opens no port, and ssh carries the connections.
   */
  hostsPorts?: string;
  /** Lines of bash that run on each host of `dip.hosts` before Python starts, such as `module load cuda`. */
  hostsPrologue?: string[];
  /**
   * Bring the project's Python files to the hosts of `dip.hosts` before each run that changed them: those that git
   * tracks, or without git those below the folder. A host that shares the folder is left alone.
   */
  hostsSync?: boolean;
  /**
   * The app, hooks around a pool's life: `torch`, `none`, `fastai`, `accelerate`, or a module or file of yours. If
   * it is empty, `torch` where that is installed.
   */
  app?: string;
  /** Modules to import once, before the ranks are forked, besides torch. */
  preload?: string[];
  /** How ranks start. */
  start?: 'auto' | 'fork' | 'spawn';
  /** How long a pool may take to start, in seconds. */
  startTimeout?: number;
  /**
   * How long a collective waits for the other ranks, in seconds, before torch gives up and ends the ranks. It is
   * long, so that you can think at a breakpoint; `dip.hang.after` tells you of ranks that wait.
   */
  groupTimeout?: number;
  /** After how many seconds of a run the ranks are asked where they are, to find out who waits for whom. 0: never. */
  'hang.after'?: number;
  /** Keep torch's cached GPU memory; otherwise it is freed after each cell that changed it. */
  keepGpuMemory?: boolean;
  /**
   * Seed of the random generators of Python, NumPy and torch: rank r begins with the seed + r, the local namespace
   * with the seed itself. -1: other numbers each time.
   */
  seed?: number;
  /**
   * Start Python and import the modules when a file with a `%%dip` directive is opened, not only when its first
   * cell runs.
   */
  prewarm?: boolean;
  /**
   * Whose output is shown if the cell does not say so: `all`, or ranks such as `0,2-4`, `host:gpu2` or `each:0`. If
   * it is empty, rank 0.
   */
  see?: string;
  /**
   * The lenses above each cell that run something, in this order: `runCell` runs it where it goes by itself, and
   * says where that is; `runRemote`, `runEverywhere` and `runLocal` run it elsewhere, so beside `runCell` one of
   * them is left out; `runAbove` runs those above it, `runBelow` it and those below. If the list is empty, there
   * are no lenses at all.
   */
  codeLens?: ('runCell' | 'runRemote' | 'runEverywhere' | 'runLocal' | 'runAbove' | 'runBelow')[];
  /**
   * How much the journal of one run may take, such as `500MB` or `4GiB`; `0`: any amount. Of a run that puts out
   * more, the oldest and the newest output is kept.
   */
  journalLimit?: string;
  /** What cells print, as a diagnostic at their header: nothing, the last lines, or everything. */
  'diagnostics.output'?: 'off' | 'last' | 'full';
  /**
   * How a client without events shows that a cell has failed: as a message, as a question whether to open the
   * output (many editors block until it is answered), or in the output window only.
   */
  failures?: 'message' | 'ask' | 'off';
  /**
   * How long the session of a folder lives with no editor attached and nothing running, such as `90m` or `4h`;
   * `forever`: until it is stopped; `0`: it ends with the editor. What still runs is never ended by it.
   */
  'session.keep'?: string;
}

export interface SettingRow {
  readonly key: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';
  /** What a value, or each in an array, can be. */
  readonly enum?: readonly string[];
  readonly default: string | number | boolean | readonly string[] | Readonly<Record<string, string>>;
  /** What it does, in Markdown. */
  readonly doc: string;
}

/** All settings. */
export const settings: readonly SettingRow[] = [
  {
    key: 'dip.python',
    type: 'string',
    default: '',
    doc:
      'The interpreter: a path, relative ones from the folder, or a name on `PATH`; `~` and `${workspaceFolder}` are ' +
      'replaced. If it is empty, the first of: `$DIPLS_PYTHON`, an active virtualenv or conda environment, `.venv` in ' +
      'the folder or above it, `python3`.',
  },
  {
    key: 'dip.cellMarkers',
    type: 'array',
    default: [],
    doc:
      'Comments that begin cells besides `# %%` and the like, as `["# COMMAND ----------"]` for Databricks or `["# ' +
      '+", "# -"]` for jupytext\'s light format. What follows one on its line is the cell\'s title.',
  },
  {
    key: 'dip.target',
    type: 'string',
    default: '',
    doc:
      'Where cells run that do not say so themselves, if autodip is off and their file has no line such as `# dip: ' +
      'remote`: `remote`, `local`, `everywhere`, or `ranks:LIST` such as `ranks:0-3`. Cells that begin with a magic ' +
      'stay local. If it is empty, in the local namespace.',
  },
  {
    key: 'dip.args',
    type: 'array',
    default: [],
    doc:
      'What `sys.argv` has behind the file in cells, as `["--lr", "3e-4"]`; it counts from the next cell on. ' +
      "`sys.argv[0]` is the file's absolute path.",
  },
  {
    key: 'dip.env',
    type: 'object',
    default: {},
    doc:
      'Variables of all processes, on every host, as `{"HF_HUB_OFFLINE": "1"}`. They count before those of ' +
      '`dip.envFile`, and those before what is inherited.',
  },
  {
    key: 'dip.envFile',
    type: 'string',
    default: '.env',
    doc:
      'A file of such variables, a line `NAME=VALUE` each: a path, relative ones from the folder; `~` and ' +
      "`${workspaceFolder}` are replaced. It is read when Python starts, and never before the folder's code may run. " +
      'A `.env` need not be there. If it is empty, none is read.',
  },
  {
    key: 'dip.cwd',
    type: 'string',
    default: '',
    doc:
      'The working directory of all processes: a path, relative ones from the folder; `~` and `${workspaceFolder}` ' +
      'are replaced. If it is empty, the folder.',
  },
  {
    key: 'dip.autoreload',
    type: 'string',
    enum: ['off', 'on'],
    default: 'off',
    doc:
      '`on`: modules of the project that were edited since they were imported are reloaded before each cell, locally ' +
      'and on all ranks alike. One that cannot be imported says so and stays as it was. With 2,000 imported files a ' +
      'cell takes 5 to 10 ms more.',
  },
  {
    key: 'dip.ranks',
    type: 'integer',
    default: 0,
    doc: 'Number of ranks of a pool, of all its hosts together. 0: one for each GPU, or 2 on a machine without GPUs.',
  },
  {
    key: 'dip.gpus',
    type: 'string',
    default: '',
    doc:
      
      'GPUs of a pool, one rank each, in this order: `all`, or a list such as `3,1` or `0-3`, numbered as torch does.',
  },
  {
    key: 'dip.hosts',
    type: 'string',
    default: '',
    doc:
      'Hosts that the ranks of a pool run on: names for ssh, such as `gpu1,user@gpu2:4` (`:4`: four ranks there); ' +
      '`slurm`, in an allocation or with flags for one of its own, such as `slurm -N 4 --gpus-per-node=8`; ' +
      '`exec[gpu1,gpu2] COMMAND`, any launcher; or `join[4]`, hosts that join by `dipls join`. If it is empty, this ' +
      'machine.',
  },
  {
    key: 'dip.ranksPerHost',
    type: 'integer',
    default: 0,
    doc:
      'Number of ranks on each host of `dip.hosts` that does not say so itself. 0: one for each GPU, or 2 on a host ' +
      'without GPUs.',
  },
  {
    key: 'dip.hostsLease',
    type: 'number',
    default: 60,
    doc:
      'For how many seconds a host of `dip.hosts` may be silent before its ranks count as dead. Its cells go on ' +
      'meanwhile.',
  },
  {
    key: 'dip.hostsPorts',
    type: 'string',
    default: '',
    doc:
      'The ports at which hosts of `dip.hosts` dial the session, and each other while a variable is pushed, such as ' +
      '`7000-7010`. If it is empty, any port. `none`: the session opens no port, and ssh carries the connections.',
  },
  {
    key: 'dip.hostsPrologue',
    type: 'array',
    default: [],
    doc: 'Lines of bash that run on each host of `dip.hosts` before Python starts, such as `module load cuda`.',
  },
  {
    key: 'dip.hostsSync',
    type: 'boolean',
    default: false,
    doc:
      "Bring the project's Python files to the hosts of `dip.hosts` before each run that changed them: those that git " +
      'tracks, or without git those below the folder. A host that shares the folder is left alone.',
  },
  {
    key: 'dip.app',
    type: 'string',
    default: '',
    doc:
      "The app, hooks around a pool's life: `torch`, `none`, `fastai`, `accelerate`, or a module or file of yours. If " +
      'it is empty, `torch` where that is installed.',
  },
  {
    key: 'dip.preload',
    type: 'array',
    default: [],
    doc: 'Modules to import once, before the ranks are forked, besides torch.',
  },
  {
    key: 'dip.start',
    type: 'string',
    enum: ['auto', 'fork', 'spawn'],
    default: 'auto',
    doc: 'How ranks start.',
  },
  {
    key: 'dip.startTimeout',
    type: 'number',
    default: 120,
    doc: 'How long a pool may take to start, in seconds.',
  },
  {
    key: 'dip.groupTimeout',
    type: 'number',
    default: 86400,
    doc:
      'How long a collective waits for the other ranks, in seconds, before torch gives up and ends the ranks. It is ' +
      'long, so that you can think at a breakpoint; `dip.hang.after` tells you of ranks that wait.',
  },
  {
    key: 'dip.hang.after',
    type: 'number',
    default: 10,
    doc:
      
      'After how many seconds of a run the ranks are asked where they are, to find out who waits for whom. 0: never.',
  },
  {
    key: 'dip.keepGpuMemory',
    type: 'boolean',
    default: false,
    doc: "Keep torch's cached GPU memory; otherwise it is freed after each cell that changed it.",
  },
  {
    key: 'dip.seed',
    type: 'integer',
    default: -1,
    doc:
      'Seed of the random generators of Python, NumPy and torch: rank r begins with the seed + r, the local namespace ' +
      'with the seed itself. -1: other numbers each time.',
  },
  {
    key: 'dip.prewarm',
    type: 'boolean',
    default: true,
    doc:
      'Start Python and import the modules when a file with a `%%dip` directive is opened, not only when its first ' +
      'cell runs.',
  },
  {
    key: 'dip.see',
    type: 'string',
    default: '',
    doc:
      'Whose output is shown if the cell does not say so: `all`, or ranks such as `0,2-4`, `host:gpu2` or `each:0`. ' +
      'If it is empty, rank 0.',
  },
  {
    key: 'dip.codeLens',
    type: 'array',
    enum: ['runCell', 'runRemote', 'runEverywhere', 'runLocal', 'runAbove', 'runBelow'],
    default: ['runCell', 'runRemote', 'runEverywhere', 'runLocal', 'runAbove', 'runBelow'],
    doc:
      'The lenses above each cell that run something, in this order: `runCell` runs it where it goes by itself, and ' +
      'says where that is; `runRemote`, `runEverywhere` and `runLocal` run it elsewhere, so beside `runCell` one of ' +
      'them is left out; `runAbove` runs those above it, `runBelow` it and those below. If the list is empty, there ' +
      'are no lenses at all.',
  },
  {
    key: 'dip.journalLimit',
    type: 'string',
    default: '2GiB',
    doc:
      'How much the journal of one run may take, such as `500MB` or `4GiB`; `0`: any amount. Of a run that puts out ' +
      'more, the oldest and the newest output is kept.',
  },
  {
    key: 'dip.diagnostics.output',
    type: 'string',
    enum: ['off', 'last', 'full'],
    default: 'last',
    doc: 'What cells print, as a diagnostic at their header: nothing, the last lines, or everything.',
  },
  {
    key: 'dip.failures',
    type: 'string',
    enum: ['message', 'ask', 'off'],
    default: 'message',
    doc:
      'How a client without events shows that a cell has failed: as a message, as a question whether to open the ' +
      'output (many editors block until it is answered), or in the output window only.',
  },
  {
    key: 'dip.session.keep',
    type: 'string',
    default: '4h',
    doc:
      'How long the session of a folder lives with no editor attached and nothing running, such as `90m` or `4h`; ' +
      '`forever`: until it is stopped; `0`: it ends with the editor. What still runs is never ended by it.',
  },
];

export interface InitializationOptions extends Settings {
  /** true: code of the folders may run; false: none may; absent: a command is the consent for its folder */
  trusted?: boolean;
  /** true: the client takes events instead of text */
  events?: boolean;
  /** true, with events: the client also takes what a person reads of them */
  folded?: boolean;
  /** true: the client can ask its user for text (dip/input) */
  input?: boolean;
  /** true: the client is told when to ask for cells again */
  cells?: boolean;
}

export interface TextDocumentIdentifier {
  uri: string;
}

export interface CellsParams {
  textDocument: TextDocumentIdentifier;
  /** only the cells that touch it; without it, all */
  range?: Range;
}

export interface CellInfo {
  /** stays while its text is edited, moved and reopened */
  id: number;
  /** from 1 */
  number: number;
  kind: 'code' | 'markdown' | 'raw';
  title: string;
  /** percent signs of the marker beyond two */
  depth: number;
  /** to the end of its last line */
  range: Range;
  /** the marker's line; empty where there is none */
  header: Range;
  /** the rest */
  body: Range;
  /** where the cell says that it runs; "" if it does not say */
  target: string;
  /** in words, where it would run now, as its first lens says; "" if there is nothing to run */
  goes: string;
  state: '' | 'queued' | 'running' | 'ok' | 'failed' | 'interrupted';
  /** the text is not what ran */
  stale: boolean;
  /** "" if it has not run */
  run: string;
  /** how that goes or went, as lenses have it */
  summary: string;
  /** what has become of what it has left: "not run since the restart"; "" if that is there */
  gone: string;
}

export interface CellsAnswer {
  /** of the document */
  version: number;
  cells: CellInfo[];
}

export interface SplitParams {
  text: string;
  /** of the file, whose folder may have further markers of cells; without it, the first folder */
  uri?: string;
}

export interface SplitCell {
  /** code, markdown or raw */
  kind: string;
  /** the marker's line, with its end; empty where there is none */
  header: string;
  body: string;
}

export interface SplitAnswer {
  /** what belongs to no cell, before the first one */
  gap: string;
  cells: SplitCell[];
}

export interface InputParams {
  /** id of the run that asks */
  run: string;
  /** number of the question in the run, as in the event */
  input: number;
  /** the document of the run's cell */
  uri?: string;
  /** which cell asks, for people */
  title: string;
  /** who asks, for people; empty: the local namespace */
  who: string;
  /** the ranks that ask */
  ranks?: number[];
  /** one line */
  prompt: string;
  /** what is typed must not be shown */
  password?: boolean;
}

export interface InputAnswer {
  /** for all that ask */
  text?: string;
  /** in place of text: for each rank, by its number */
  texts?: Record<string, string>;
}

export interface ColumnsParams {
  /** of a font in which all characters are as wide */
  columns: number;
}

export interface FoldedItem {
  kind: 'heading' | 'outcome' | 'line' | 'result' | 'display' | 'failure' | 'notice';
  run?: string;
  /** one or more lines, with ranks in front, such as [0-3], and colours */
  text: string;
}

export interface FoldedParams {
  /** the final items, in order */
  items?: FoldedItem[];
  /** the lines that are not final: progress bars, prompts. They replace those sent before */
  live?: string[];
}

export interface SessionParams {
  folder: string;
  state: 'own' | 'attached' | 'reattached' | 'gone';
  /** true: the events that follow have happened before, up to the next of these notifications */
  past?: boolean;
  /** empty: it belongs to the editor */
  name: string;
  /**
   * how long it lives with nobody attached and nothing running, in seconds; -1: for ever; 0: it ends with the
   * editor
   */
  keep: number;
  /** when it was started */
  since: string;
  /** the programs that are attached, this one included */
  clients: string[];
  /** of the pool */
  ranks: number;
  /** of the ranks */
  devices: string[];
  /** bytes of GPU memory that its processes hold; 0: none, or unknown */
  memory: number;
  /** all of it, sentences for the user */
  text: string;
  /** the directory with the journals of its runs; empty: none are kept */
  journal: string;
  /** the file in which it tells who did what; empty: there is none */
  log: string;
}

export interface CellsChangedParams {
  uri: string;
}

export interface GoneRun {
  run: string;
  /** as in a cell of dip/cells */
  gone: string;
}

export interface GoneParams {
  /** those of which that has changed */
  runs: GoneRun[];
}

/** The requests that LSP does not have. */
export interface Requests {
  'dip/cells': { params: CellsParams; answer: CellsAnswer };
  'dip/split': { params: SplitParams; answer: SplitAnswer };
}

/** The server's requests that LSP does not have. */
export interface ServerRequests {
  'dip/input': { params: InputParams; answer: InputAnswer | null };
}

/** The client's notifications that LSP does not have, with their parameters. */
export interface ClientNotifications {
  'dip/trusted': undefined;
  'dip/columns': ColumnsParams;
}

/** The parameters of the server's notifications that LSP does not have. */
export interface Notifications {
  'dip/event': DipEvent;
  'dip/folded': FoldedParams;
  'dip/session': SessionParams;
  'dip/cellsChanged': CellsChangedParams;
  'dip/gone': GoneParams;
}
