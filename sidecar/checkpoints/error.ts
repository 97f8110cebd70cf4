/** A checkpoint that cannot be used: missing, damaged, hostile or unsupported. The message names the file. */
export class CheckpointError extends Error {
  override name = 'CheckpointError';
  /** File or folder at fault. */
  readonly file: string;

  constructor(message: string, { file, cause }: { file: string; cause?: unknown }) {
    super(message, { cause });
    this.file = file;
  }
}
