// All rows of Y (m x n) from the product of the live rows of A: each live row goes to its place, the others become zero.
//
// place: for each row of Y its row in the product, or -1. product, y: rows of row_bytes bytes, a multiple of 16, whatever
//   lies between the elements of two rows included; both start at a multiple of 16 bytes.
//
// Grid: a block a row of Y.

struct __align__(16) Words { unsigned int x, y, z, w; };

extern "C" __global__ void scatter_rows(const int *place, const Words *product, Words *y, unsigned int row_bytes)
{
    const int from = place[blockIdx.x];
    const unsigned int words = row_bytes / 16;
    Words *to = y + (unsigned long long)blockIdx.x * words;
    for (unsigned int i = threadIdx.x; i < words; i += blockDim.x) {
        Words row = {0, 0, 0, 0};
        if (from >= 0) row = product[(unsigned long long)from * words + i];
        to[i] = row;
    }
}
