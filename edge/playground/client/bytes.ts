export function fromBase64(b64: string, type: string): Blob {
  return new Blob([Uint8Array.from(atob(b64), (char) => char.charCodeAt(0))], { type });
}

/** `data:image/png;base64,…` */
export function toDataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

export function fromDataUrl(url: string): Blob {
  const [, type, data] = /^data:([^;]*);base64,(.*)$/s.exec(url) as unknown as [string, string, string];
  return fromBase64(data, type);
}

export function toPng(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The browser made no PNG'))),
      'image/png',
    ),
  );
}
