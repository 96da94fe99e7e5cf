import { expect, test, vi } from 'vitest';

const editor = vi.hoisted(() => ({
  network: true,
  changed: undefined as ((change: { affectsConfiguration: (key: string) => boolean }) => void) | undefined,
  webview: { html: '', cspSource: 'https://files', asWebviewUri: String, onDidReceiveMessage: () => undefined },
}));

vi.mock('vscode', () => ({
  Uri: { joinPath: (...parts: unknown[]) => parts.join('/') },
  ViewColumn: { Active: -1 },
  window: { createWebviewPanel: () => ({ webview: editor.webview, onDidDispose: () => undefined }) },
  workspace: {
    getConfiguration: () => ({ get: () => editor.network }),
    onDidChangeConfiguration: (listener: typeof editor.changed) => {
      editor.changed = listener;
    },
  },
}));

test('an enlarged output loses the network when the setting is turned off', async () => {
  const { openEnlarged } = await import('../src/results/enlarged');
  openEnlarged({ extensionUri: 'extension' } as never, { kind: 'rich', data: {} }, 'rank 0', 'Plot');
  expect(editor.webview.html).toContain('data-network="true"');
  editor.network = false;
  editor.changed?.({ affectsConfiguration: (key) => key === 'dip.results.network' });
  expect(editor.webview.html).toContain('data-network="false"');
  expect(editor.webview.html).not.toMatch(/script-src[^;]* https:/);
});
