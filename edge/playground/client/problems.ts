import { byId, make } from './page.ts';

/** Takes back what `showProblem` has shown. */
export function clearProblems(): void {
  for (const message of document.querySelectorAll('#request .error:not(.banner)')) message.remove();
  for (const field of document.querySelectorAll('#request [aria-invalid]')) {
    field.removeAttribute('aria-invalid');
    field.removeAttribute('aria-describedby');
  }
  byId('banner').hidden = true;
}

/**
 * Shows an error at the field it is about, or below the button.
 * @param param as the server names it: `steps`, `control[0].scale`.
 */
export function showProblem(message: string, param?: string): void {
  const place = param === undefined ? undefined : placeOf(param);
  if (!place) {
    const banner = byId('banner');
    banner.textContent = message;
    banner.hidden = false;
    return;
  }
  for (let around = place.closest('details'); around; around = around.parentElement!.closest('details'))
    around.open = true;
  const id = `${place.id || 'part'}-problem`;
  const shown = make('p', { className: 'error', id, textContent: message });
  shown.setAttribute('role', 'alert');
  if (place instanceof HTMLDetailsElement) {
    place.querySelector('summary')!.after(shown);
    return;
  }
  (place.closest('.field') ?? place).append(shown);
  place.setAttribute('aria-invalid', 'true');
  place.setAttribute('aria-describedby', id);
  place.focus();
}

/** The nearest that the form has to a parameter: a list's item or an object's field stand in their whole. */
function placeOf(param: string): HTMLElement | undefined {
  for (let name = param; name; name = name.replace(/(\.[^.[\]]*|\[\d*\]|^[^.[\]]*)$/, '')) {
    const escaped = CSS.escape(name);
    const found = byId('request').querySelector<HTMLElement>(
      `[data-param="${escaped}"], [name="${escaped}"]`,
    );
    if (found) return found;
  }
  return undefined;
}
