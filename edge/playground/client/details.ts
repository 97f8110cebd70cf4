import { fromDataUrl } from './bytes.ts';
import { exactBody } from './exact.ts';
import { storedKey } from './key.ts';
import { announce, button, byId, download, make } from './page.ts';
import { type Language, snippet } from './snippets.ts';
import type { Made } from './types.ts';

export interface DetailsActions {
  reuse: (made: Made) => void;
  beginFrom: (image: Blob) => void;
  delete: (made: Made) => void;
}

/** What can be seen of, and done with, pictures that are finished. */
export function details(actions: DetailsActions) {
  let shown: Made | undefined;
  const on = (id: string, act: (made: Made) => void) =>
    byId(id).addEventListener('click', () => shown && act(shown));
  on('reuse', actions.reuse);
  on('delete', actions.delete);
  on('as-begin', ({ images }) => actions.beginFrom(images[0]!));
  on('download', ({ images, effective }) => {
    images.forEach((blob, i) => void download(blob, `${effective.model}-${effective.seeds[i]}.png`));
  });
  for (const copy of document.querySelectorAll<HTMLButtonElement>('[data-language]'))
    copy.addEventListener('click', () => shown && showCode(shown, copy.dataset.language as Language));

  return {
    show(made: Made | undefined): void {
      shown = made;
      byId('shown').hidden = !made;
      byId('snippet').hidden = true;
      byId('code-files').replaceChildren();
      if (made) byId('effective').replaceChildren(...rowsOf(made));
    },
  };
}

function rowsOf({ effective, created, ms }: Made): HTMLElement[] {
  const known = Object.entries(effective).filter(
    ([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0),
  );
  const made = ['made', `${new Date(created).toLocaleString()}, in ${(ms / 1000).toFixed(1)} s`] as const;
  return [...known, made].flatMap(([name, value]) => [
    make('dt', {}, name.replaceAll('_', ' ')),
    make('dd', {}, typeof value === 'object' ? textOf(value) : String(value)),
  ]);
}

/** `[1, 2]` → `1, 2`; `{a: 1}` → `a 1` */
function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOf).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  const fields = Object.entries(value).filter(([, field]) => textOf(field) !== '');
  return fields.map(([name, field]) => `${name.replaceAll('_', ' ')} ${textOf(field)}`).join(', ');
}

async function showCode(made: Made, language: Language): Promise<void> {
  const server = { origin: location.origin, withKey: storedKey() !== undefined };
  const { code, files } = snippet(language, exactBody(made), server);
  const text = byId('snippet', HTMLTextAreaElement);
  text.value = code;
  text.hidden = false;
  const save = [...files].map(([name, url]) =>
    button(`Save ${name}`, () => download(fromDataUrl(url), name)),
  );
  byId('code-files').replaceChildren(...save);
  // Pages that are not of this machine, and not encrypted, have no clipboard: there it is shown, to be copied by hand.
  await navigator.clipboard?.writeText(code).then(
    () => announce('Copied'),
    () => announce('Not copied: the browser does not allow it'),
  );
}
