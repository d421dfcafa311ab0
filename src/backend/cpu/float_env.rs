//! The calling thread's floating-point environment: rounding direction and flush-to-zero.
//!
//! Loaded libraries set flush-to-zero and denormals-are-zero (anything linked with
//! `-ffast-math` does so in a constructor, for the thread that loads it), and every contract in
//! VERIFY.md forbids both, so the state is checked before every pass and restored after every
//! foreign call.

/// MXCSR: flush-to-zero (bit 15), rounding control (14..13), denormals-are-zero (bit 6).
/// Intel SDM volume 1, section 10.2.3.
#[cfg(target_arch = "x86_64")]
const MXCSR_CONTROL: u32 = 1 << 15 | 0b11 << 13 | 1 << 6;

/// FPCR: flush-to-zero (bit 24), rounding mode (23..22). Arm ARM, section C5.2.
#[cfg(target_arch = "aarch64")]
const FPCR_CONTROL: u64 = 1 << 24 | 0b11 << 22;

/// Whether this thread rounds to nearest even and keeps subnormals.
pub fn float_environment_is_ieee() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        mxcsr() & MXCSR_CONTROL == 0
    }
    #[cfg(target_arch = "aarch64")]
    {
        fpcr() & FPCR_CONTROL == 0
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        true
    }
}

/// Makes this thread round to nearest even and keep subnormals.
pub fn reset_float_environment() {
    #[cfg(target_arch = "x86_64")]
    {
        set_mxcsr(mxcsr() & !MXCSR_CONTROL);
    }
    #[cfg(target_arch = "aarch64")]
    {
        set_fpcr(fpcr() & !FPCR_CONTROL);
    }
}

#[cfg(target_arch = "x86_64")]
fn mxcsr() -> u32 {
    let mut state = 0u32;
    // SAFETY: stores 4 bytes to a live local; touches no flags and no other state.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut state, options(nostack, preserves_flags));
    }
    state
}

#[cfg(target_arch = "x86_64")]
fn set_mxcsr(state: u32) {
    // SAFETY: reads 4 bytes of a live local. The value differs from the current MXCSR only by
    // cleared control bits, which is the state that compiled Rust code assumes.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const state, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
fn fpcr() -> u64 {
    let state: u64;
    // SAFETY: reads a control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) state, options(nomem, nostack)) };
    state
}

#[cfg(target_arch = "aarch64")]
fn set_fpcr(state: u64) {
    // SAFETY: the value differs from the current FPCR only by cleared control bits, which is
    // the state that compiled Rust code assumes.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) state, options(nostack)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn flush_to_zero_is_seen_and_reset() {
        reset_float_environment();
        assert!(float_environment_is_ieee());
        for bit in [15, 14, 13, 6] {
            set_mxcsr(mxcsr() | 1 << bit);
            let seen = !float_environment_is_ieee();
            reset_float_environment();
            assert!(seen, "bit {bit}");
            assert!(float_environment_is_ieee());
        }
    }
}
