/** A window of VS Code, as a person sees and uses it. Every method waits for what it looks for. */
import { setTimeout } from 'node:timers/promises';
import type { FrameLocator, Locator, Page } from 'playwright-core';
import { until } from './until';

/**
 * Limit for lenses, in milliseconds. The longer VS Code has waited for lenses before, the later it asks for them again, so on a busy
 * machine they may be many seconds behind.
 */
const patience = 90_000;

export class Window {
  constructor(readonly page: Page) {}

  /** Waits until it can be used. */
  async ready(): Promise<void> {
    await this.page.locator('.monaco-workbench .statusbar-item').first().waitFor();
  }

  /** Reloads it, and waits until it can be used. */
  async reload(): Promise<void> {
    await this.page.reload();
    await this.ready();
  }

  /** Runs a command of the palette, by its whole title. */
  async run(title: string): Promise<void> {
    await this.pick('F1', `>${title}`, title);
  }

  /** Opens a file of the folder, by its name. */
  async openFile(name: string): Promise<void> {
    await this.pick('Control+P', name, name);
    await this.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
    await this.line('').first().waitFor();
  }

  /** Opens a notebook of the folder, by its name. */
  async openNotebook(name: string): Promise<void> {
    await this.pick('Control+P', name, name);
    await this.page.locator('.notebookOverlay .code-cell-row .view-line').first().waitFor();
  }

  /** Waits until the outputs of the open notebook's cells match, and returns the first group. */
  async inNotebook(pattern: RegExp): Promise<string> {
    const outputs = this.page
      .frameLocator('.notebookOverlay iframe.webview')
      .frameLocator('#active-frame')
      .locator('body');
    return until(`${String(pattern)} in the notebook`, async () => {
      const match = pattern.exec(plain(await outputs.innerText({ timeout: 2_000 })));
      return match && (match[1] ?? match[0]);
    });
  }

  /** Types into the quick input that a key opens, and takes the choice of that name. */
  private async pick(key: string, typed: string, choice: string): Promise<void> {
    const input = this.page.locator('.quick-input-widget input[type=text]:visible');
    // Repeated: in a window that has just opened, the keyboard's handler and some commands may not be there yet.
    await until(`"${choice}" can be chosen`, async () => {
      await this.page.keyboard.press(key);
      await input.fill(typed, { timeout: 2_000 });
      await this.choose(choice);
      return true;
    });
  }

  /** Takes a choice of the open list. If it is not there, the list is closed, and that is an error. */
  async choose(label: string): Promise<void> {
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    const row = rows.filter({ has: this.page.getByText(label, { exact: true }) }).first();
    try {
      await row.click({ timeout: 5_000 });
    } catch (error) {
      await this.page.keyboard.press('Escape');
      throw error;
    }
  }

  /** Types the answer to a question, which is known by its title. */
  async answer(title: string, text: string): Promise<void> {
    const asked = this.page.locator('.quick-input-widget', {
      has: this.page.locator('.quick-input-title', { hasText: title }),
    });
    const input = asked.locator('input[type=text]:visible');
    await input.fill(text);
    await input.press('Enter');
  }

  /** Accepts the answer that a question proposes. */
  async accept(title: string, proposed: string): Promise<void> {
    const asked = this.page.locator('.quick-input-widget', {
      has: this.page.locator('.quick-input-title', { hasText: title }),
    });
    const input = asked.locator('input[type=text]:visible');
    await until(`"${proposed}" is proposed`, async () => (await input.inputValue()) === proposed);
    await input.press('Enter');
  }

  /** A line of the editor that holds a text. Only what is in view is there. */
  private line(text: string): Locator {
    return this.page.locator('.part.editor .view-line', { hasText: text });
  }

  /** Puts the cursor at the end of the first line in view that holds a text. */
  async putCursor(text: string): Promise<void> {
    await this.line(text).first().click();
    await this.page.keyboard.press('End');
  }

  /** The titles of the lenses of the cell whose header holds `header`, in their order. */
  async lenses(header: string): Promise<string[]> {
    return (await this.lensesOf(header)).locator('a').allInnerTexts();
  }

  /** Clicks a lens of the cell whose header holds `header`. */
  async clickLens(header: string, title: string): Promise<void> {
    await this.untilLens(`lens "${title}" of "${header}"`, async () => {
      const lenses = await this.lensesOf(header);
      // Lenses are made anew when they change: a click on one that is just being replaced is lost.
      const shown = await lenses.innerHTML({ timeout: 1_000 });
      await setTimeout(400);
      if ((await lenses.innerHTML({ timeout: 1_000 })) !== shown) {
        throw new Error('the lenses are changing');
      }
      const lost = this.page
        .waitForEvent('console', {
          predicate: (said) => said.text().includes('Actual command not found'),
          timeout: 300,
        })
        .then(
          () => true,
          () => false,
        );
      await lenses
        .locator('a')
        .filter({ hasText: exactly(title) })
        .click({ timeout: 1_000 });
      if (await lost) {
        throw new Error('the lens was just being replaced');
      }
      return true;
    });
  }

  /**
   * Waits until a lens shows something. If that takes long, it switches to another file and back, as a person does whose lenses are
   * behind: see `lookAgainAtLenses` of the extension.
   */
  private async untilLens(what: string, condition: () => Promise<boolean>): Promise<void> {
    let seen = Date.now();
    await until(
      what,
      async () => {
        if (Date.now() - seen > 25_000) {
          console.warn(`${what}: not yet; looking at another file and back`);
          await this.run('View: Open Previous Editor');
          await this.run('View: Open Next Editor');
          seen = Date.now();
        }
        return condition();
      },
      patience,
    );
  }

  /** Waits until a lens tells how a cell's run goes, or went. */
  async outcome(header: string, pattern: RegExp): Promise<void> {
    await this.untilLens(`"${header}" shows ${String(pattern)}`, async () => {
      const lenses = await this.lenses(header);
      if (!lenses.some((lens) => pattern.test(lens))) {
        throw new Error(`lenses are ${lenses.join(' | ')}`);
      }
      return true;
    });
  }

  /** The lenses right above a line. Only their position ties them to it. */
  private async lensesOf(header: string): Promise<Locator> {
    return until(`lenses of "${header}"`, async () => {
      const line = await this.line(header).first().boundingBox();
      for (const lenses of await this.page.locator('.codelens-decoration').all()) {
        const box = await lenses.boundingBox();
        const above = line && box && box.y < line.y && line.y - box.y < 1.5 * line.height;
        // Only links count: a file that is shown again has the titles of its last lenses as plain text at first.
        if (above && (await lenses.locator('a').count()) > 0) {
          return lenses;
        }
      }
      return undefined;
    });
  }

  /** The rows of the Problems view: a file, then what is wrong in it. */
  async problems(): Promise<string[]> {
    await this.run('Problems: Focus on Problems View');
    return this.rows(this.page.locator('.markers-panel'));
  }

  /** Chooses a quick fix for what is at the cursor. */
  async quickFix(title: string): Promise<void> {
    await until(`quick fix "${title}"`, async () => {
      await this.page.keyboard.press('Control+.');
      try {
        const row = this.page.locator('.action-widget .monaco-list-row').filter({ hasText: exactly(title) });
        await row.click({ timeout: 3_000 });
        return true;
      } catch (error) {
        await this.page.keyboard.press('Escape');
        throw error;
      }
    });
  }

  /** The names of the output channels that there are. */
  async channels(): Promise<string[]> {
    await this.pick('F1', '>Output: Show Output Channels', 'Output: Show Output Channels...');
    const names = await this.page.locator('.quick-input-list .monaco-list-row .label-name').allInnerTexts();
    await this.page.keyboard.press('Escape');
    return names;
  }

  /** What is in view of an output channel: the end of it. */
  async channel(name: string): Promise<string> {
    await this.run('Output: Show Output Channels...');
    await this.choose(name);
    await this.run('Output: Focus on Output View');
    await this.page.keyboard.press('Control+End'); // it follows its end only while the cursor is there
    return this.text(this.page.locator('.part.panel .output-view'));
  }

  /** The lines of an editor that are in view, from top to bottom. */
  private async text(editor: Locator): Promise<string> {
    const lines = await editor.locator('.view-line').evaluateAll((elements) =>
      elements
        .map((element) => ({ top: parseInt((element as HTMLElement).style.top), text: element.textContent }))
        .sort((a, b) => a.top - b.top)
        .map(({ text }) => text),
    );
    return plain(lines.join('\n'));
  }

  /** The items of the status bar that say something. */
  async statusBar(): Promise<string[]> {
    const items = await this.page.locator('.statusbar-item').allInnerTexts();
    return items.map((item) => plain(item).trim()).filter((item) => item !== '');
  }

  async clickStatusBar(text: string): Promise<void> {
    await this.page.locator('.statusbar-item', { hasText: text }).click();
  }

  /** The rows of the tree view that a command focuses: "Dip: Focus on Ranks View" those of Ranks. */
  async tree(container: string, title: string): Promise<string[]> {
    await this.run(`${container}: Focus on ${title} View`);
    const pane = this.page.locator('.pane').filter({ has: this.page.locator('.pane-header', { hasText: title }) });
    return this.rows(pane);
  }

  private async rows(list: Locator): Promise<string[]> {
    const rows = await list.locator('.monaco-list-row').allInnerTexts();
    return rows.map((row) => plain(row).replaceAll('\n', ' ').trim());
  }

  /** What is in the results panel, which is brought into view. */
  async results(): Promise<FrameLocator> {
    await this.run('Dip Results: Focus on Dip Results View');
    return this.resultsInView();
  }

  /** What is in the results panel, which is in view. */
  resultsInView(): FrameLocator {
    return this.page.frameLocator('iframe.webview.ready >> nth=0').frameLocator('#active-frame');
  }

  /** The page in the editor that was opened last. */
  async editorPage(): Promise<FrameLocator> {
    const frames = this.page.locator('iframe.webview.ready');
    await until('the page of the editor is there', async () => (await frames.count()) > 1);
    return this.page.frameLocator('iframe.webview.ready >> nth=-1').frameLocator('#active-frame');
  }

  /** Says that the folder is trusted. */
  async trust(): Promise<void> {
    await this.run('Workspaces: Manage Workspace Trust');
    await this.page.locator('.workspace-trust-editor').getByRole('button', { name: 'Trust', exact: true }).click();
    await this.run('View: Close Editor');
  }

  /** Presses a button of the dialog that is open. */
  async confirm(button: string): Promise<void> {
    await this.page.locator('.monaco-dialog-box').getByText(button, { exact: true }).last().click();
  }

  /** The notifications that there are, hidden ones included. */
  async notifications(): Promise<string[]> {
    await this.run('Notifications: Show Notifications');
    const items = await this.page.locator('.notification-list-item-message').allInnerTexts();
    await this.page.keyboard.press('Escape');
    return items.map(plain);
  }

  async screenshot(path: string): Promise<void> {
    await this.page.screenshot({ path });
  }

  async close(): Promise<void> {
    await this.page.close({ runBeforeUnload: true });
    await until('the window closes', () => Promise.resolve(this.page.isClosed()));
  }
}

function exactly(text: string): RegExp {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
}

/** Editors show spaces as no-break spaces. */
function plain(text: string): string {
  return text.replaceAll('\u00a0', ' ');
}
