// Holds the stream until the host lets go, so that calls queued behind it start back to back and
// their launch is not timed.
//
// release: 1 int in host memory, not 0 once the host lets go. gave_up: 1 int in host memory, set to
// 1 if that took longer than timeout_ns: a call queued behind waited for the device. One thread.

extern "C" __global__ void block_stream(
    const volatile int *release, volatile int *gave_up, unsigned long long timeout_ns)
{
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    while (*release == 0) {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (now - start > timeout_ns) {
            *gave_up = 1;
            return;
        }
    }
}
