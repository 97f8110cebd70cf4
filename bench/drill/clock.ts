// Loaded into each process of the drill before its own code: its clock can be set, as it shows the time of day. Timers
// go by another one, as they do when an operator or a time server sets a machine's.

const RealDate = Date;
let offset = 0;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, self) =>
    Reflect.construct(target, args.length === 0 ? [RealDate.now() + offset] : args, self),
  apply: () => new RealDate(RealDate.now() + offset).toString(),
  get: (target, name) => (name === 'now' ? () => RealDate.now() + offset : Reflect.get(target, name, target)),
});

process.on('message', (message: { clockOffsetMs?: number }) => {
  if (message.clockOffsetMs !== undefined) offset = message.clockOffsetMs;
});
// It alone keeps no process going.
process.channel?.unref();

export {};
