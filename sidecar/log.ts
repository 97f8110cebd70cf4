import type { CallLog } from './calls.ts';

/** How lines of the log are written. */
export type LogFormat = 'text' | 'json';

/** Writes a line on standard error for each call. */
export function callLogger(
  format: LogFormat,
  write: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): (entry: CallLog) => void {
  return format === 'json' ? (entry) => write(jsonLine(entry)) : (entry) => write(textLine(entry));
}

/** Writes a line for a device that has failed for good. */
export function deviceLogger(
  format: LogFormat,
  write: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): (device: string, reason: Error) => void {
  return (device, { message }) => {
    const time = new Date().toISOString();
    const entry = { time, level: 'error', code: 'device_lost', device, error: message };
    write(format === 'json' ? JSON.stringify(entry) : `${time} device_lost ${device}: ${message}`);
  };
}

/** For people: time, method, code, duration, request, what it was about. */
function textLine({ requestId, method, code, ms, what, prompts, error }: CallLog): string {
  const about = [what ?? error?.message ?? '', ...(prompts ? [JSON.stringify(prompts)] : [])].join(' ');
  const line = [new Date().toISOString(), method, code, `${ms.toFixed(0)} ms`, requestId, about].join(' ');
  const cause = code === 'internal' ? error?.cause : undefined;
  return cause instanceof Error ? `${line}\n${cause.stack}` : line;
}

/** An object on one line. */
function jsonLine({ requestId, ms, error, prompts, ...entry }: CallLog): string {
  return JSON.stringify({
    time: new Date().toISOString(),
    level: entry.code === 'ok' ? 'info' : entry.code === 'internal' ? 'error' : 'warn',
    ...entry,
    ms: Math.round(ms),
    request_id: requestId,
    ...(prompts && { prompt: prompts.prompt, negative_prompt: prompts.negativePrompt }),
    ...(error && { error: error.message, field: error.field }),
    ...(entry.code === 'internal' && { stack: (error?.cause as Error | undefined)?.stack }),
  });
}
