// A text in the user comment of EXIF 2.32, in UTF-16, as Stable Diffusion web UI writes its parameters to JPEG and WebP.

/** Bytes that a JPEG's segment has for EXIF, at most (ITU T.81, B.1.1.4). */
const MAX_SEGMENT = 65_535 - 2;

const [LONG, UNDEFINED] = [4, 7];
const [EXIF_POINTER, USER_COMMENT] = [0x8769, 0x9286];
/** Of a directory of one entry: their number, the entry, the next directory's offset. */
const DIRECTORY_BYTES = 2 + 12 + 4;

/** A JPEG with the text; without it where it is too long for a segment: about 32,000 characters. */
export function withJpegComment(jpeg: Buffer, text: string): Buffer {
  const exif = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), exifBlock(text)]);
  if (exif.length > MAX_SEGMENT) return jpeg;
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(exif.length + 2, 2);
  // Right after the start of the image.
  return Buffer.concat([jpeg.subarray(0, 2), head, exif, jpeg.subarray(2)]);
}

/** A WebP of one still image with the text: as an extended file (RFC 9649, 2.7). */
export function withWebpComment(
  webp: Buffer,
  text: string,
  { width, height }: { width: number; height: number },
): Buffer {
  const isExtended = webp.toString('latin1', 12, 16) === 'VP8X';
  const head = Buffer.alloc(10);
  if (isExtended) webp.copy(head, 0, 20, 30);
  // Bit 3: there is EXIF.
  head[0] = head[0]! | 0x08;
  head.writeUIntLE(width - 1, 4, 3);
  head.writeUIntLE(height - 1, 7, 3);
  const image = webp.subarray(isExtended ? 30 : 12);
  const body = Buffer.concat([
    Buffer.from('WEBP', 'latin1'),
    riffChunk('VP8X', head),
    image,
    riffChunk('EXIF', exifBlock(text)),
  ]);
  return riffChunk('RIFF', body);
}

function riffChunk(name: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.write(name, 'latin1');
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

/** TIFF, big-endian: a directory that points to EXIF's, which holds the comment. */
function exifBlock(text: string): Buffer {
  const comment = Buffer.concat([Buffer.from('UNICODE\0', 'latin1'), Buffer.from(text, 'utf16le').swap16()]);
  const [first, second] = [8, 8 + DIRECTORY_BYTES];
  const header = Buffer.from([0x4d, 0x4d, 0, 42, 0, 0, 0, first]);
  return Buffer.concat([
    header,
    directory(EXIF_POINTER, LONG, 1, second),
    directory(USER_COMMENT, UNDEFINED, comment.length, second + DIRECTORY_BYTES),
    comment,
  ]);
}

function directory(tag: number, type: number, count: number, value: number): Buffer {
  const out = Buffer.alloc(DIRECTORY_BYTES);
  out.writeUInt16BE(1, 0);
  out.writeUInt16BE(tag, 2);
  out.writeUInt16BE(type, 4);
  out.writeUInt32BE(count, 6);
  out.writeUInt32BE(value, 10);
  return out;
}
