/** Draws blocks as the outputs of a notebook's cell, with as few messages as possible. */
import * as vscode from 'vscode';
import type { Block } from './blocks';

export class Painter {
  private blocks: readonly Block[] = [];
  private outputs: vscode.NotebookCellOutput[] = [];

  constructor(private readonly execution: vscode.NotebookCellExecution) {}

  /** Makes the cell show these blocks. To be awaited before it is called again: so a slow window is sent less. */
  async draw(blocks: readonly Block[]): Promise<void> {
    const before = this.blocks;
    this.blocks = blocks;
    if (blocks.length < before.length) {
      this.outputs = blocks.map(outputOf);
      await this.execution.replaceOutput(this.outputs);
      return;
    }
    const same = before.length === 0 ? 0 : before.findIndex((block, i) => block !== blocks[i]);
    const first = same < 0 ? before.length : same;
    for (let i = first; i < before.length; i++) {
      const block = blocks[i] as Block;
      if (!equal(block, before[i] as Block)) {
        await this.execution.replaceOutputItems(itemsOf(block), this.outputs[i] as vscode.NotebookCellOutput);
      }
    }
    const added = blocks.slice(before.length).map(outputOf);
    if (added.length > 0) {
      this.outputs.push(...added);
      await this.execution.appendOutput(added);
    }
  }
}

function outputOf(block: Block): vscode.NotebookCellOutput {
  return new vscode.NotebookCellOutput(
    itemsOf(block),
    block.kind === 'rich' ? { metadata: block.metadata } : undefined,
  );
}

function itemsOf(block: Block): vscode.NotebookCellOutputItem[] {
  switch (block.kind) {
    case 'text':
      return [
        block.stream === 'stdout'
          ? vscode.NotebookCellOutputItem.stdout(block.text)
          : vscode.NotebookCellOutputItem.stderr(block.text),
      ];
    case 'failure':
      return [vscode.NotebookCellOutputItem.error({ name: block.name, message: block.message, stack: block.stack })];
    case 'rich':
      return Object.entries(block.data).map(([type, value]) => itemOf(type, value));
  }
}

/** Strings of images other than SVG are base64; what is no string is JSON. */
function itemOf(type: string, value: unknown): vscode.NotebookCellOutputItem {
  if (typeof value !== 'string') {
    return vscode.NotebookCellOutputItem.json(value, type);
  }
  const binary = /^(image|audio|video)\/(?!svg)/.test(type) || type === 'application/pdf';
  return binary
    ? new vscode.NotebookCellOutputItem(Buffer.from(value, 'base64'), type)
    : vscode.NotebookCellOutputItem.text(value, type);
}

function equal(a: Block, b: Block): boolean {
  return a === b || (a.kind === 'text' && b.kind === 'text' && a.stream === b.stream && a.text === b.text);
}
