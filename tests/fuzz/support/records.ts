/** The record layer of TLS: a stream taken apart, changed record by record, and cut anywhere. */
import fc from "fast-check";
import { concat } from "../../support/streams.ts";
import { sized } from "./hello.ts";

/** A record. */
export interface TlsRecord {
  type: number;
  version: number;
  body: Uint8Array;
  /** By how much its length is off. */
  lie?: number;
}

/** Types of records. */
export const CHANGE_CIPHER_SPEC = 20, ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23;

/** What is a record, and what is left behind the last whole one. */
export function parseRecords(stream: Uint8Array): { records: TlsRecord[]; rest: Uint8Array } {
  const records: TlsRecord[] = [];
  let at = 0;
  for (;;) {
    const [type, major, minor, high, low] = stream.subarray(at, at + 5);
    const end = at + 5 + (high << 8 | low);
    if (at + 5 > stream.length || end > stream.length) break;
    records.push({ type, version: major << 8 | minor, body: stream.slice(at + 5, end) });
    at = end;
  }
  return { records, rest: stream.subarray(at) };
}

export function encodeRecords(records: readonly TlsRecord[]): Uint8Array {
  return concat(
    records.map(({ type, version, body, lie }) =>
      concat([new Uint8Array([type, version >> 8, version & 255]), sized(body, 2, lie)])
    ),
  );
}

/** A change of a flight. */
export interface RecordChange {
  /** For messages about what failed. */
  readonly name: string;
  /**
   * Whether the peer must notice, when it comes before the end of the handshake: what was said is
   * not what arrives.
   */
  readonly isForgery: boolean;
  readonly apply: (records: TlsRecord[]) => TlsRecord[];
}

/** A change of the record at a place that is counted from the first one, again and again. */
function changing(
  name: string,
  isForgery: boolean,
  at: number,
  change: (record: TlsRecord) => TlsRecord[],
): RecordChange {
  return {
    name,
    isForgery,
    apply: (records) => {
      const place = at % records.length;
      return records.flatMap((record, i) => i === place ? change(record) : [record]);
    },
  };
}

const place = fc.nat(1000);

/** The same bytes in other records: never wrong, where they are not encrypted. */
export const repackaging: fc.Arbitrary<RecordChange> = fc.tuple(
  place,
  fc.array(fc.nat(), {
    minLength: 1,
    maxLength: 6,
  }),
).map(([at, places]) =>
  changing("split", false, at, (record) => {
    if (record.type !== HANDSHAKE) return [record];
    const ends = [...places.map((p) => p % (record.body.length + 1)), record.body.length]
      .sort((a, b) => a - b);
    return ends.map((end, i) => ({ ...record, body: record.body.subarray(ends[i - 1] ?? 0, end) }))
      .filter(({ body }) => body.length > 0);
  })
);

/** Bits of one byte: always a forgery. */
export const flip: fc.Arbitrary<RecordChange> = fc
  .tuple(place, fc.nat(), fc.integer({ min: 1, max: 255 }))
  .map(([at, offset, bits]) =>
    changing(`flip ${bits} at ${offset}`, true, at, (record) => {
      const body = record.body.slice();
      if (body.length > 0) body[offset % body.length] ^= bits;
      return [{ ...record, body }];
    })
  );

const foreign: fc.Arbitrary<TlsRecord> = fc.record({
  type: fc.oneof(fc.constantFrom(20, 21, 22, 23), fc.integer({ min: 0, max: 255 })),
  version: fc.constantFrom(0x0303, 0x0301, 0x0300, 0x0200, 0xffff),
  body: fc.oneof(
    fc.constantFrom([1], [], [1, 0], [2, 40], [2, 0], [1, 90], [0, 0, 0, 0], [24, 0, 0, 1, 1])
      .map((bytes) => new Uint8Array(bytes)),
    fc.uint8Array({ maxLength: 60 }),
  ),
});

/** Any change. */
export const recordChange: fc.Arbitrary<RecordChange> = fc.oneof(
  repackaging,
  { weight: 6, arbitrary: flip },
  fc.tuple(place, fc.integer({ min: 0, max: 255 })).map(([at, type]) =>
    changing(`type ${type}`, false, at, (record) => [{ ...record, type }])
  ),
  fc.tuple(place, fc.integer({ min: 0, max: 65_535 })).map(([at, version]) =>
    changing(`version ${version}`, false, at, (record) => [{ ...record, version }])
  ),
  fc.tuple(place, fc.constantFrom(-1, 1, -65_535, 65_535, 16_384, 10, -10)).map(([at, lie]) =>
    changing(`length off by ${lie}`, false, at, (record) => [{ ...record, lie }])
  ),
  place.map((at) => changing("drop", false, at, () => [])),
  place.map((at) => changing("repeat", false, at, (record) => [record, record])),
  fc.tuple(place, fc.nat()).map(([at, length]) =>
    changing(
      "truncate",
      false,
      at,
      (record) => [{ ...record, body: record.body.subarray(0, length % (record.body.length + 1)) }],
    )
  ),
  fc.tuple(place, fc.constantFrom(1, 20, 40)).map(([at, count]) =>
    changing(`${count} empty records before`, false, at, (record) => [
      ...new Array<TlsRecord>(count).fill({ ...record, body: new Uint8Array(0) }),
      record,
    ])
  ),
  fc.tuple(place, foreign, fc.constantFrom(1, 1, 1, 2, 40), fc.boolean()).map((
    [at, inserted, count, isBefore],
  ) =>
    changing(`${count} of type ${inserted.type} [${inserted.body}]`, false, at, (record) => {
      const all = new Array<TlsRecord>(count).fill(inserted);
      return isBefore ? [...all, record] : [record, ...all];
    })
  ),
  fc.constantFrom(16_384, 16_385, 18_432, 18_433, 65_535).chain((length) =>
    place.map((at) =>
      changing(`grown to ${length}`, false, at, (record) => { // by HelloRequests, which are ignored
        const body = new Uint8Array(length);
        body.set(record.body.subarray(0, length));
        return [{ ...record, body }];
      })
    )
  ),
  fc.constant<RecordChange>({
    name: "reverse",
    isForgery: false,
    apply: (records) => records.toReversed(),
  }),
  fc.constant<RecordChange>({
    name: "merge",
    isForgery: false,
    apply: (records) => {
      const merged: TlsRecord[] = [];
      for (const record of records) {
        const last = merged.at(-1);
        if (last?.type !== record.type) merged.push({ ...record });
        else last.body = concat([last.body, record.body]);
      }
      return merged;
    },
  }),
);
