import type { SqlStorage } from '../../edge/jobs/sql-archive.ts';

type Row = {
  id: string;
  part: number;
  piece: number;
  bytes: ArrayBuffer;
};

/** The table of jobs' parts without a database: it knows the statements that are made, and no others. */
export function partsTable(): SqlStorage & { rows: Row[] } {
  const table = {
    rows: [] as Row[],
    sql: {
      exec(query: string, ...[id, part, piece, bytes]: (string | number | Uint8Array)[]): Row[] {
        const isOf = (row: Row) => row.id === id && (part === undefined || row.part === part);
        switch (query.split(' ')[0]) {
          case 'CREATE':
            return [];
          case 'INSERT': {
            const copy = new Uint8Array(bytes as Uint8Array).buffer;
            table.rows.push({ id: id as string, part: part as number, piece: piece as number, bytes: copy });
            return [];
          }
          case 'DELETE':
            table.rows = table.rows.filter((row) => !isOf(row));
            return [];
          default:
            if (!query.includes('DISTINCT'))
              return table.rows.filter(isOf).toSorted((a, b) => a.piece - b.piece);
            return table.rows.filter((row, i) => table.rows.findIndex((other) => other.id === row.id) === i);
        }
      },
    },
    transactionSync<T>(closure: () => T): T {
      const before = [...table.rows];
      try {
        return closure();
      } catch (error) {
        table.rows = before;
        throw error;
      }
    },
  };
  return table;
}
