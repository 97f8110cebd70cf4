import { fromBase64 } from './bytes.ts';
import { byId, make, showBlob } from './page.ts';
import type { StreamEvent } from './types.ts';

/** Pictures of fewer pixels are shown with their pixels' edges. */
const SMALL = 128;

/** Where pictures are shown, while they are made and afterwards. */
export function stage() {
  const list = byId('pictures', HTMLUListElement);
  const progress = byId('progress');
  const bar = byId('progress-bar', HTMLProgressElement);
  const text = byId('progress-text');

  const imageAt = (i: number, alt: string): HTMLImageElement => {
    while (list.children.length <= i) {
      const img = make('img');
      img.addEventListener('load', () => img.classList.toggle('small', img.naturalWidth <= SMALL));
      list.append(make('li', {}, img));
    }
    return Object.assign(list.children[i]!.firstElementChild as HTMLImageElement, { alt });
  };
  const clear = () => {
    for (const img of list.querySelectorAll('img')) URL.revokeObjectURL(img.src);
    list.replaceChildren();
    byId('nothing-yet').hidden = false;
  };
  const draw = (i: number, blob: Blob, alt: string, partial: boolean) => {
    const img = imageAt(i, alt);
    byId('nothing-yet').hidden = true;
    img.classList.toggle('partial', partial);
    showBlob(img, blob);
  };

  return {
    clear,
    /** A request is on its way. */
    start(): void {
      bar.removeAttribute('value');
      text.textContent = 'Waiting for the server';
      progress.hidden = false;
    },
    stop(): void {
      progress.hidden = true;
    },
    /** @param previews whether to show them @returns the picture, when it is finished. */
    take(event: StreamEvent, previews: boolean): Blob | undefined {
      if (event.type === 'progress') {
        const { step, total, step_ms } = event;
        Object.assign(bar, { max: total, value: step });
        const left = ((total - step) * step_ms) / 1000;
        text.textContent = `Step ${step} of ${total}${left >= 2 ? `, about ${Math.round(left)} s left` : ''}`;
        return undefined;
      }
      const blob = fromBase64(event.b64_json, `image/${event.output_format}`);
      const partial = event.type === 'partial_image';
      if (partial && previews) draw(event.image_index, blob, 'A preview', true);
      return partial ? undefined : blob;
    },
    show(images: readonly Blob[], alt: string): void {
      clear();
      images.forEach((blob, i) => void draw(i, blob, alt, false));
    },
  };
}
