/** Makes HTML from programs safe to show. */
import createPurifier from 'dompurify';

/**
 * Keeps only what shows something: no scripts, no forms, nothing that is loaded from elsewhere, no links that lead away.
 * Empty if nothing is left to see.
 */
export function sanitise(html: string, window: Window & typeof globalThis): string | undefined {
  const purifier = createPurifier(window);
  const body = purifier.sanitize(html, {
    USE_PROFILES: { html: true },
    FORCE_BODY: true,
    FORBID_TAGS: [
      'form',
      'input',
      'button',
      'textarea',
      'select',
      'option',
      'audio',
      'video',
      'source',
      'track',
      'picture',
      'dialog',
    ],
    FORBID_ATTR: ['srcset', 'action', 'formaction', 'background', 'ping', 'target'],
    ALLOWED_URI_REGEXP: /^(?:data:image\/(?:png|jpeg|gif|webp|svg\+xml)[;,]|#)/i,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM: true,
  }) as HTMLElement;
  const text = body.cloneNode(true) as HTMLElement;
  for (const style of text.querySelectorAll('style')) {
    style.remove();
  }
  const seen = text.textContent.trim() !== '' || text.querySelector('img, hr, progress, meter') !== null;
  return seen ? body.innerHTML : undefined;
}
