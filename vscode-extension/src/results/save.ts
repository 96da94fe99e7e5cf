/** Rich output as files. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import { showMessage } from '../messages';
import type { Rich } from '../timeline';

/** What files of a MIME type are called, and whether their value is base64. The first that an output has is the one that is saved. */
const kinds: readonly (readonly [form: RegExp, extension: string, binary: boolean])[] = [
  [/^image\/svg\+xml$/, 'svg', false],
  [/^image\/(png|jpeg|gif|webp)$/, '$1', true],
  [/^application\/pdf$/, 'pdf', true],
  [/^text\/html$/, 'html', false],
  [/^application\/(.+\+)?json$/, 'json', false],
  [/^text\/markdown$/, 'md', false],
  [/^text\/latex$/, 'tex', false],
  [/^(application|text)\/javascript$/, 'js', false],
  [/^(image|audio|video|application)\//, 'bin', true],
  [/^text\//, 'txt', false],
];

/** Saves an output, under a name that the user is asked for. */
export async function saveOutput(output: Rich): Promise<void> {
  for (const [form, extension, binary] of kinds) {
    for (const [mime, value] of Object.entries(output.data)) {
      if (form.test(mime)) {
        const text = typeof value === 'string' ? value : JSON.stringify(value, undefined, 2);
        const ending = mime.replace(form, extension);
        await saveFile(`output.${ending}`, Buffer.from(text, binary && typeof value === 'string' ? 'base64' : 'utf8'));
        return;
      }
    }
  }
}

/** Saves a file under a name that the user is asked for. */
export async function saveFile(name: string, content: Uint8Array): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const uri = await vscode.window.showSaveDialog({
    title: 'Save output',
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, name) }),
  });
  if (!uri) {
    return;
  }
  try {
    await vscode.workspace.fs.writeFile(uri, content);
    vscode.window.setStatusBarMessage(`Dip: saved ${uri.fsPath}`, 5000);
  } catch (error) {
    void showMessage('error', `Dip: ${uri.fsPath} cannot be written: ${problem(error)}`);
  }
}
