/**
 * The CRC-32 of two contents that follow each other, from those of each: no byte is read again. Appending zeros to a
 * content is a linear map of its CRC over GF(2), so that appending any number of them is a few products of matrices.
 */

const POLYNOMIAL = 0xedb88320
const BITS = 32

/** A column for each bit. */
type Matrix = Uint32Array

/** @param secondBytes Length of what the second one is of. */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  let crc = first
  let bytes = secondBytes
  for (let power = 0; bytes > 0; power++) {
    if (bytes % 2 === 1) crc = times(zeros(power), crc)
    bytes = Math.floor(bytes / 2)
  }
  return (crc ^ second) >>> 0
}

/** What 2^power zero bytes do to a CRC; made once. */
const powers: Matrix[] = []

function zeros(power: number): Matrix {
  while (powers.length <= power) {
    const last = powers.at(-1)
    powers.push(last ? square(last) : square(square(square(oneBit()))))
  }
  return powers[power]!
}

function oneBit(): Matrix {
  const matrix = new Uint32Array(BITS)
  matrix[0] = POLYNOMIAL
  for (let bit = 1; bit < BITS; bit++) matrix[bit] = 2 ** (bit - 1)
  return matrix
}

function times(matrix: Matrix, vector: number): number {
  let product = 0
  for (let bit = 0, rest = vector; rest !== 0; bit++, rest >>>= 1) {
    if ((rest & 1) !== 0) product ^= matrix[bit]!
  }
  return product >>> 0
}

function square(matrix: Matrix): Matrix {
  return matrix.map(column => times(matrix, column))
}
