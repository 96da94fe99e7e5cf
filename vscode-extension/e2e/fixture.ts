/** VS Code for the tests of one file. */
import { afterAll, afterEach } from 'vitest';
import { until } from './until';
import { type Options, VSCode } from './vscode';

/** Starts VS Code. A test that fails leaves pictures and logs behind. It is a failure if anything still runs after the last test. */
export async function startVSCode(options: Options): Promise<VSCode> {
  const code = await VSCode.start(options);
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') {
      console.error(`What the windows showed and the logs said: ${await code.evidence()}`);
    }
  });
  afterAll(async () => {
    await code.stop();
    await until(
      'every process of VS Code and of the extension ends',
      async () => (await code.processes()).length === 0,
    );
    await code.remove();
  });
  return code;
}
