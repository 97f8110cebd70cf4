import { toPng } from './bytes.ts';

/** Pixels of the longer side of what is sent, at most: photographs have more than any model sees. */
const MAX_SIDE = 2048;
/** What the server reads as it is. */
const READ = /^image\/(png|jpeg|webp)$/;

/** A picture as it is sent, and as it is drawn. */
export interface PictureIn {
  file: Blob;
  bitmap: ImageBitmap;
}

/** @throws Error when it is no picture that this browser can read. */
export async function readPicture(file: Blob): Promise<PictureIn> {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`Expected a picture but received ${file.type || 'something else'}`);
  });
  const shrink = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  if (shrink === 1 && READ.test(file.type) && file.size < 4e6) return { file, bitmap };
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * shrink));
  canvas.height = Math.max(1, Math.round(bitmap.height * shrink));
  canvas.getContext('2d')!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return { file: await toPng(canvas), bitmap: await createImageBitmap(canvas) };
}

/** Takes pictures that are dropped on an element. */
export function takeDropped(element: HTMLElement, onFile: (file: File) => void): void {
  const over = (event: DragEvent) => {
    event.preventDefault();
    element.classList.add('over');
  };
  element.addEventListener('dragenter', over);
  element.addEventListener('dragover', over);
  element.addEventListener('dragleave', () => element.classList.remove('over'));
  element.addEventListener('drop', (event) => {
    event.preventDefault();
    element.classList.remove('over');
    const file = event.dataTransfer?.files[0];
    if (file) onFile(file);
  });
}

/** Takes pictures that are pasted: where the focus is, else in the first that is open, else in the last. */
export function takePasted(
  all: () => { element: HTMLDetailsElement; setFile: (file: File) => void }[],
): void {
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
    if (!file) return;
    event.preventDefault();
    const sections = all();
    const section =
      sections.find(({ element }) => element.contains(document.activeElement)) ??
      sections.find(({ element }) => element.open) ??
      sections.at(-1)!;
    section.element.open = true;
    section.setFile(file);
  });
}
