// Looks whether another process has the device: a context that gives way to another stands still meanwhile.
//
// One thread reads the device's clock again and again, and keeps the longest time between two looks. Kernels of its own
// context run beside it; one of another context takes the whole device, for 300 us at the least on an H200, where looks
// are 8 us apart at most otherwise.
//
// flags: three ints in host memory. [0]: not 0 once the host wants it to end. [1]: set to 1 once it runs. [2]: the longest
// time between two looks so far, in ns, INT_MAX at most. It ends by itself after limit_ns. One thread.

extern "C" __global__ void watch(volatile int *flags, unsigned long long limit_ns)
{
    unsigned long long start, last, now;
    unsigned long long longest = 0;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    last = start;
    flags[1] = 1;
    while (flags[0] == 0) {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (now - last > longest) {
            longest = now - last;
            flags[2] = longest > 0x7fffffffull ? 0x7fffffff : (int)longest;
        }
        last = now;
        if (now - start > limit_ns) {
            // Nobody looks any more: as long a time as there is.
            flags[2] = 0x7fffffff;
            return;
        }
    }
}
