// Unpacks the splats that a page carries: stages/scenewright_stages/scenes/splats.py packs them.

const SPZ_MAGIC = 0x5053474e;
const SPZ_VERSION = 3;
const HEADER_BYTES = 16;

/** Columns of whole numbers, one after the other; each is stored as differences, the lowest bytes of all first. */
class Columns {
  constructor(bytes, count, start) {
    this.bytes = bytes;
    this.count = count;
    this.start = start;
  }

  /** @returns {Int32Array} the next column, of numbers of so many bytes; those beyond its sign are to be ignored */
  next(size) {
    const { bytes, count, start } = this;
    const values = new Int32Array(count);
    for (let row = 0, value = 0; row < count; row++) {
      let code = 0;
      for (let place = 0; place < size; place++) code |= bytes[start + place * count + row] << (8 * place);
      value += (code >>> 1) ^ -(code & 1);
      values[row] = value;
    }
    this.start += size * count;
    return values;
  }
}

/** Sign and magnitude in ten bits. */
function tenBits(value) {
  return value < 0 ? 512 - value : value;
}

/**
 * @param {Uint8Array} bytes packed splats, already decompressed
 * @returns {Uint8Array} an SPZ file of version 3, as it is before gzip
 */
export function unpacked(bytes) {
  const header = new DataView(bytes.buffer, bytes.byteOffset);
  const [count, fractionalBits] = [header.getUint32(0, true), header.getUint32(4, true)];
  const columns = new Columns(bytes, count, 8);
  const file = new Uint8Array(HEADER_BYTES + 20 * count);
  const view = new DataView(file.buffer);
  [SPZ_MAGIC, SPZ_VERSION, count].forEach((value, place) => view.setUint32(4 * place, value, true));
  view.setUint8(13, fractionalBits);
  let start = HEADER_BYTES;
  for (let axis = 0; axis < 3; axis++) {
    columns.next(3).forEach((value, row) => {
      const place = start + 9 * row + 3 * axis;
      file[place] = value;
      file[place + 1] = value >> 8;
      file[place + 2] = value >> 16;
    });
  }
  start += 9 * count;
  file.set(columns.next(1), start);
  start += count;
  const green = columns.next(1);
  green.forEach((value, row) => (file[start + 3 * row + 1] = value));
  for (const channel of [0, 2]) {
    columns.next(1).forEach((value, row) => (file[start + 3 * row + channel] = value + green[row]));
  }
  start += 3 * count;
  for (let axis = 0; axis < 3; axis++) columns.next(1).forEach((value, row) => (file[start + 3 * row + axis] = value));
  start += 3 * count;
  const [largest, first, second, third] = [1, 2, 2, 2].map((size) => columns.next(size));
  for (let row = 0; row < count; row++) {
    const turn = (tenBits(first[row]) << 20) | (tenBits(second[row]) << 10) | tenBits(third[row]);
    view.setUint32(start + 4 * row, (largest[row] << 30) | turn, true);
  }
  return file;
}
