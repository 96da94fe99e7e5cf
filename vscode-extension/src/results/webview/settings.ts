/** What the extension has told a page, in the attributes of its script. */
import type { FrameSettings } from './frames';

export function settingsOf(script: HTMLOrSVGScriptElement | null): FrameSettings {
  return {
    nonce: script?.nonce ?? '',
    renderers: script?.dataset['renderers'] ?? '',
    network: script?.dataset['network'] === 'true',
  };
}
