/** VS Code on a server, an installed extension, and a browser that shows it. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createWriteStream, openSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { type Browser, type BrowserContext, chromium } from 'playwright-core';
import { marked, type ProcessInfo, Tethered } from './processes';
import { until } from './until';
import { Window } from './window';

/** What scripts/setup-e2e.sh and scripts/e2e.sh say. */
function tool(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: run "make e2e"`);
  }
  return value;
}

/** The binary that the extension carries. */
const dipls = path.join(import.meta.dirname, '..', 'server', 'dipls');

/** A profile in which nothing moves, asks questions or uses the network by itself. */
const profile = {
  'security.workspace.trust.startupPrompt': 'never',
  'window.confirmBeforeClose': 'never',
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.welcomePage.walkthroughs.openOnInstall': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.autoCheckUpdates': false,
  'extensions.autoUpdate': false,
  'extensions.ignoreRecommendations': true,
  'workbench.enableExperiments': false,
  'workbench.settings.enableNaturalLanguageSearch': false,
  'git.enabled': false,
  'remote.autoForwardPorts': false,
  'workbench.editor.useModal': 'off',
  'editor.minimap.enabled': false,
  'editor.fontFamily': 'DejaVu Sans Mono',
  'files.simpleDialog.enable': true,
};

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface Options {
  /** The folder to open is a copy of this one. */
  folder: string;
  /** The copy's name. */
  name: string;
  settings: Record<string, string | number | boolean>;
  /** Whether folders need the user's trust. */
  trust?: boolean;
}

export class VSCode {
  /** The folder that windows open. */
  readonly folder: string;

  private constructor(
    private readonly root: string,
    name: string,
    private readonly mark: string,
    private readonly env: NodeJS.ProcessEnv,
    private readonly browser: Browser,
    private readonly context: BrowserContext,
    private server: CodeServer,
  ) {
    this.folder = path.join(root, name);
  }

  /** Starts a server with a profile of its own, in which the packaged extension is installed, and a browser. */
  static async start(options: Options): Promise<VSCode> {
    const root = await mkdtemp(path.join(tmpdir(), 'dipls-e2e-'));
    await cp(options.folder, path.join(root, options.name), { recursive: true });
    await writeSettings(path.join(root, 'data', 'User'), {
      ...profile,
      'security.workspace.trust.enabled': options.trust ?? false,
    });
    // For VS Code the browser's user and the server's machine are different: settings that name an executable count only on the machine.
    await writeSettings(path.join(root, 'data', 'Machine'), { 'dip.python': tool('E2E_PYTHON'), ...options.settings });
    await writeFile(path.join(root, 'code-server.yaml'), '');
    await mkdir(path.join(root, 'run'), { mode: 0o700 });

    const mark = `DIPLS_E2E=${randomUUID()}`;
    const env = { ...cleanEnvironment(root), DIPLS_E2E: mark.slice('DIPLS_E2E='.length) };
    const [node, ...args] = codeServer(root);
    await promisify(execFile)(node, [...args, '--install-extension', tool('E2E_VSIX')], { env });

    const server = await CodeServer.start(root, env, 0);
    try {
      const browser = await chromium.launch({ executablePath: tool('E2E_CHROMIUM'), args: flags });
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2 });
      return new VSCode(root, options.name, mark, env, browser, context, server);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  /** Kills the server, and all of its processes that are no processes of the extension, as a machine without memory does. */
  async kill(): Promise<void> {
    for (const { pid, executable, commandLine } of await this.processes()) {
      if (executable.endsWith('/node') && !commandLine.includes('tether.ts')) {
        process.kill(pid, 'SIGKILL');
      }
    }
    await this.server.stop();
  }

  /** Starts the server again, where it was. */
  async startAgain(): Promise<void> {
    this.server = await CodeServer.start(this.root, this.env, this.server.port);
  }

  /** Opens a window on the folder, and waits until it can be used. */
  async open(): Promise<Window> {
    const page = await this.context.newPage();
    const console = createWriteStream(path.join(this.root, 'browser.log'), { flags: 'a' });
    page.on('console', (message) => console.write(`${message.type()}: ${message.text()}\n`));
    page.on('close', () => console.end());
    page.on('dialog', (dialog) => void dialog.accept());
    await page.goto(`${this.server.url}?folder=${encodeURIComponent(this.folder)}`);
    const window = new Window(page);
    await window.ready();
    return window;
  }

  /** The living processes that the extension has started, directly or not. */
  async extensionProcesses(): Promise<ProcessInfo[]> {
    return (await marked(this.mark)).filter(({ executable }) => !/\/(node|rg|git|dash|bash|sh|ps)$/.test(executable));
  }

  /** Runs a program beside the editor, in the folder, with the extension's `dipls` on its path. Returns what it has printed. */
  async execute(program: string, ...args: string[]): Promise<string> {
    const PATH = [path.dirname(dipls), this.env.PATH].join(path.delimiter);
    const { stdout } = await promisify(execFile)(program, args, { cwd: this.folder, env: { ...this.env, PATH } });
    return stdout;
  }

  /** The records of the journals, one for each run that has one. */
  async journals(): Promise<Record<string, unknown>[]> {
    const runs = path.join(this.root, 'state', 'dipls', 'runs');
    const records = await Promise.all(
      (await readdir(runs)).map((name) => readFile(path.join(runs, name, 'run.json'), 'utf8')),
    );
    return records.filter((text) => text !== '').map((text) => JSON.parse(text) as Record<string, unknown>);
  }

  /** Every living process that has come of this VS Code, the server's own included. */
  processes(): Promise<ProcessInfo[]> {
    return marked(this.mark);
  }

  /** Saves a picture of each window, and the logs, for the analysis of a failure. Returns the folder. */
  async evidence(): Promise<string> {
    const folder = await mkdtemp(path.join(tmpdir(), 'dipls-e2e-failure-'));
    await Promise.all(
      this.context.pages().map((page, i) => page.screenshot({ path: path.join(folder, `window-${i}.png`) })),
    );
    for (const name of ['server.log', 'browser.log', path.join('data', 'logs')]) {
      await cp(path.join(this.root, name), path.join(folder, path.basename(name)), { recursive: true });
    }
    return folder;
  }

  /** Ends browser, server and sessions, which must end what they have started: see `processes`. */
  async stop(): Promise<void> {
    await this.browser.close();
    await this.server.stop();
    await this.execute('dipls', 'stop', '--all');
  }

  /** Removes all that was on disk. */
  async remove(): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

/** A running code-server. */
class CodeServer {
  private constructor(
    private readonly process: Tethered,
    readonly url: string,
  ) {}

  /** Starts one on a port; 0: any that is free. Returns once it listens. */
  static async start(root: string, env: NodeJS.ProcessEnv, port: number): Promise<CodeServer> {
    const log = path.join(root, 'server.log');
    const process = Tethered.start(
      tool('E2E_NODE'),
      [
        ...codeServer(root),
        ...['--auth', 'none', '--bind-addr', `127.0.0.1:${port}`, '--disable-telemetry', '--disable-update-check'],
        ...['--disable-getting-started-override', '--disable-proxy'],
      ],
      env,
      openSync(log, 'w'),
    );
    try {
      const url = await until('code-server listens', async () => {
        return /HTTP server listening on (\S+)/.exec(await readFile(log, 'utf8'))?.[1];
      });
      return new CodeServer(process, url);
    } catch (error) {
      await process.stop();
      throw new Error(`code-server could not be started; its log: ${await readFile(log, 'utf8')}`, { cause: error });
    }
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  stop(): Promise<void> {
    return this.process.stop();
  }
}

/** The command that runs code-server with a profile. */
function codeServer(root: string): [string, ...string[]] {
  return [
    tool('E2E_NODE'),
    tool('E2E_CODE_SERVER'),
    ...['--config', path.join(root, 'code-server.yaml')],
    ...['--user-data-dir', path.join(root, 'data'), '--extensions-dir', path.join(root, 'extensions')],
  ];
}

async function writeSettings(folder: string, settings: object): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'settings.json'), JSON.stringify(settings, null, 2));
}

/** The environment without the variables of the user's own Python, editor and session. Caches stay in use. */
function cleanEnvironment(home: string): NodeJS.ProcessEnv {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME ?? home, '.cache');
  const own =
    /^(VSCODE_|CODE_SERVER_|DIPLS_|VITEST|VIRTUAL_ENV$|CONDA_|PYTHON|NODE_(OPTIONS|PATH|ENV)$|XDG_|npm_|BROWSER$|PORT$)/;
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name));
  const directories = { XDG_RUNTIME_DIR: path.join(home, 'run'), XDG_STATE_HOME: path.join(home, 'state') };
  return { ...Object.fromEntries(kept), HOME: home, XDG_CACHE_HOME: cache, ...directories };
}
