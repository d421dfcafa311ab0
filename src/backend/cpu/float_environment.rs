//! The calling thread's floating-point modes. Loaded libraries change them: a shared object
//! linked with fast-math start-up code turns on flush-to-zero for the thread that loads it,
//! and threads inherit the modes of the thread that starts them.

#[cfg(target_arch = "x86_64")]
mod modes {
    use std::arch::asm;

    /// MXCSR at process start: every exception masked, round to nearest even, no flushing.
    pub const IEEE: u32 = 0x1f80;
    /// Denormals-are-zero (bit 6), rounding control (bits 13 and 14), flush-to-zero (bit 15).
    pub const MODE_BITS: u32 = 1 << 6 | 3 << 13 | 1 << 15;

    pub fn read() -> u32 {
        let mut mxcsr = 0u32;
        // SAFETY: stores MXCSR in the four bytes of the local variable and changes nothing else.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) }
        mxcsr
    }

    pub fn write(mxcsr: u32) {
        // SAFETY: loads MXCSR from the local variable. Callers pass the default modes, under
        // which compiled code is meant to run, a value read before, or flushing ones while only assembly computes.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, preserves_flags)) }
    }

    pub fn are_ieee() -> bool {
        read() & MODE_BITS == 0
    }
}

#[cfg(target_arch = "aarch64")]
mod modes {
    use std::arch::asm;

    /// FPCR at process start: round to nearest even, no flushing, no traps.
    pub const IEEE: u32 = 0;
    /// Flushing of inputs (bit 0), alternate handling (bit 1), flushing of binary16 (bit 19), rounding control (bits 22
    /// and 23), flush-to-zero (bit 24).
    pub const MODE_BITS: u32 = 1 | 1 << 1 | 1 << 19 | 3 << 22 | 1 << 24;

    pub fn read() -> u32 {
        let fpcr: u64;
        // SAFETY: copies FPCR to the local variable and changes nothing else.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) }
        fpcr as u32
    }

    pub fn write(fpcr: u32) {
        // SAFETY: loads FPCR from the local variable. Callers pass the default modes, under
        // which compiled code is meant to run, or a value read before.
        unsafe { asm!("msr fpcr, {}", in(reg) u64::from(fpcr), options(nostack, preserves_flags)) }
    }

    pub fn are_ieee() -> bool {
        read() & MODE_BITS == 0
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod modes {
    use std::hint::black_box;

    pub const IEEE: u32 = 0;

    pub fn read() -> u32 {
        IEEE
    }

    pub fn write(_: u32) {}

    pub fn are_ieee() -> bool {
        let ulp = f32::EPSILON;
        let one = black_box(1.0f32);
        let halved = black_box(f32::MIN_POSITIVE) * black_box(0.5);
        let scaled = black_box(f32::from_bits(1)) * black_box(16_777_216.0);
        halved.to_bits() == 1 << 22
            && scaled > 0.0
            && one + black_box(0.5 * ulp) == 1.0
            && one + black_box(0.75 * ulp) == 1.0 + ulp
            && -one - black_box(0.5 * ulp) == -1.0
            && -one - black_box(0.75 * ulp) == -1.0 - ulp
    }
}

/// Whether the calling thread rounds to nearest even and keeps subnormals, as operands and as
/// results.
pub fn float_environment_is_ieee() -> bool {
    modes::are_ieee()
}

/// Sets the calling thread's modes to those of a fresh process: on x86-64 and aarch64. Elsewhere they can only be
/// looked at.
pub fn reset_float_environment() {
    modes::write(modes::IEEE);
}

/// IEEE modes for the calling thread until dropped; then the modes found are back.
pub(super) struct IeeeScope(u32);

impl IeeeScope {
    pub fn enter() -> IeeeScope {
        let found = modes::read();
        modes::write(modes::IEEE);
        IeeeScope(found)
    }
}

impl Drop for IeeeScope {
    fn drop(&mut self) {
        modes::write(self.0);
    }
}

/// The calling thread reads subnormals as zeros and flushes results that are tiny, until dropped; then the modes found are
/// back. Code of the compiler's own computes nothing in binary32 or binary64 meanwhile.
#[cfg(target_arch = "x86_64")]
pub(super) struct FlushScope(u32);

#[cfg(target_arch = "x86_64")]
impl FlushScope {
    pub fn enter() -> FlushScope {
        let found = modes::read();
        modes::write(modes::IEEE | 1 << 6 | 1 << 15);
        FlushScope(found)
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for FlushScope {
    fn drop(&mut self) {
        modes::write(self.0);
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn flushing_and_directed_rounding_are_noticed_and_undone() {
        assert!(float_environment_is_ieee());
        #[cfg(target_arch = "x86_64")]
        let set = [1 << 6, 1 << 13, 2 << 13, 3 << 13, 1 << 15];
        // Those that every processor has.
        #[cfg(target_arch = "aarch64")]
        let set = [1 << 22, 2 << 22, 3 << 22, 1 << 24];
        for mode in set {
            modes::write(modes::IEEE | mode);
            let noticed = !float_environment_is_ieee();
            let inside = {
                let _ieee = IeeeScope::enter();
                float_environment_is_ieee()
            };
            let restored = !float_environment_is_ieee();
            reset_float_environment();
            assert!(noticed && inside && restored, "mode {mode:#x}");
            assert!(float_environment_is_ieee());
        }
    }
}
