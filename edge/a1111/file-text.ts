/** Bytes of a text: longer than any prompts with their settings. */
const MAX_BYTES = 2 ** 20;

/**
 * The text that a file was made with: of a PNG's `parameters` (tEXt or iTXt), of EXIF's user comment in JPEG and WebP.
 * @returns undefined where there is none, where it is longer than `MAX_BYTES`, or the file is broken.
 */
export function fileText(file: Uint8Array): string | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  try {
    if (latin1(file, 1, 3) === 'PNG') return pngText(file, view);
    if (view.getUint16(0) === 0xffd8) return jpegText(file, view);
    if (latin1(file, 8, 4) === 'WEBP') return webpText(file, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return undefined;
}

const latin1 = (file: Uint8Array, at: number, length: number) =>
  String.fromCharCode(...file.subarray(at, at + length));

function decode(bytes: Uint8Array, encoding: string): string | undefined {
  return bytes.length > MAX_BYTES ? undefined : new TextDecoder(encoding).decode(bytes);
}

/** Chunks: length, type, data, checksum (PNG, 5.3). */
function pngText(file: Uint8Array, view: DataView): string | undefined {
  for (let at = 8; at + 12 <= file.length; at += 12 + view.getUint32(at)) {
    const [type, data] = [latin1(file, at + 4, 4), file.subarray(at + 8, at + 8 + view.getUint32(at))];
    const end = data.indexOf(0);
    if (!/^[ti][TE][XE][tX]/.test(type) || latin1(data, 0, end) !== 'parameters') continue;
    if (type === 'tEXt') return decode(data.subarray(end + 1), 'latin1');
    // iTXt, not compressed: flag, method, language, translated keyword, text.
    if (type !== 'iTXt' || data[end + 1] !== 0) continue;
    const language = data.indexOf(0, end + 3);
    return decode(data.subarray(data.indexOf(0, language + 1) + 1), 'utf-8');
  }
  return undefined;
}

/** Segments: marker, length with itself, data (ITU T.81, B.1.1.4). */
function jpegText(file: Uint8Array, view: DataView): string | undefined {
  for (
    let at = 2;
    view.getUint8(at) === 0xff && view.getUint8(at + 1) !== 0xda;
    at += 2 + view.getUint16(at + 2)
  )
    if (view.getUint8(at + 1) === 0xe1 && latin1(file, at + 4, 4) === 'Exif')
      return exifText(file.subarray(at + 10, at + 2 + view.getUint16(at + 2)));
  return undefined;
}

/** Chunks: type, length, data, padding to an even length (RFC 9649, 2.3). */
function webpText(file: Uint8Array, view: DataView): string | undefined {
  for (
    let at = 12;
    at + 8 <= file.length;
    at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2)
  )
    if (latin1(file, at, 4) === 'EXIF') {
      const data = file.subarray(at + 8, at + 8 + view.getUint32(at + 4, true));
      return exifText(latin1(data, 0, 4) === 'Exif' ? data.subarray(6) : data);
    }
  return undefined;
}

/** TIFF: the user comment (0x9286) of the directory that 0x8769 of the first one points to. */
function exifText(tiff: Uint8Array): string | undefined {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const little = latin1(tiff, 0, 2) === 'II';
  const entry = (directory: number, tag: number) => {
    const count = view.getUint16(directory, little);
    for (let i = 0; i < count; i++) {
      const at = directory + 2 + 12 * i;
      if (view.getUint16(at, little) === tag)
        return { length: view.getUint32(at + 4, little), value: view.getUint32(at + 8, little) };
    }
    return undefined;
  };
  const exif = entry(view.getUint32(4, little), 0x8769);
  const comment = exif && entry(exif.value, 0x9286);
  if (!comment) return undefined;
  const [encoding, text] = [
    latin1(tiff, comment.value, 8),
    tiff.subarray(comment.value + 8, comment.value + comment.length),
  ];
  if (!encoding.startsWith('UNICODE')) return decode(text, 'utf-8');
  // As that UI writes it, whatever the order of the rest.
  return decode(text, 'utf-16be');
}
