// Readies a grouped product Y = A V, of which whole experts of A are zero: the library multiplies the live experts, and
// reads where each product's matrices lie from arrays in device memory.
//
// A is a stack of gridDim.x experts of equal rows; Y has expert_bytes bytes for the rows of each, a multiple of 8.
// place: for each expert its number among the live ones, or -1 of a dead one.
// addresses: three arrays of `live` addresses: of V (the same for all), of each live expert of A, of its rows of Y. The
//   second is the host's and stays as it is.
// Rows of Y of dead experts become zero, whatever lies between the rows included.
//
// Grid: x an expert, y its parts, which share the zeroing. Y starts at a multiple of 8 bytes.

extern "C" __global__ void group_experts(unsigned long long *addresses, const int *place, unsigned long long v,
                                         unsigned long long y, unsigned long long expert_bytes, int live)
{
    int at = place[blockIdx.x];
    unsigned long long rows = y + blockIdx.x * expert_bytes;
    if (at >= 0) {
        if (blockIdx.y == 0 && threadIdx.x == 0) {
            addresses[at] = v;
            addresses[2 * (unsigned long long)live + at] = rows;
        }
        return;
    }
    unsigned long long *words = (unsigned long long *)rows;
    unsigned long long step = (unsigned long long)gridDim.y * blockDim.x;
    for (unsigned long long i = blockIdx.y * blockDim.x + threadIdx.x; i < expert_bytes / 8; i += step) {
        words[i] = 0;
    }
}
