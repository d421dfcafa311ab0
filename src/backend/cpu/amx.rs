//! The tiles of Intel AMX: eight registers of 16 rows of 64 bytes, and sums of products of integers of 8 bits in 32 bits.
//!
//! [`Hardware`] is the instructions alone, by inline assembly, since the standard library has no stable names for them.
//! `Model` is their meaning in plain code, by Intel's manual (Software Developer's Manual, volume 2), for any processor.

/// Bytes of a tile, whose rows of 64 follow each other.
pub(super) const TILE_BYTES: usize = 1024;

/// Eight tiles, all of 16 rows of 64 bytes.
pub(super) trait Tiles {
    /// Tile T becomes zero.
    fn zero<const T: usize>(&mut self);

    /// Tile T becomes what lies at `from`.
    ///
    /// # Safety
    ///
    /// [`TILE_BYTES`] can be read there.
    unsafe fn load<const T: usize>(&mut self, from: *const u8);

    /// Tile T goes to `to`.
    ///
    /// # Safety
    ///
    /// [`TILE_BYTES`] can be written there.
    unsafe fn store<const T: usize>(&mut self, to: *mut u8);

    /// Tile C, as integers of 32 bits, gets the products of bytes with a sign added: for row m and word n of C those of byte
    /// 4 k + i in row m of A and byte 4 n + i in row k of B. Sums wrap.
    fn dot_i8<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Says that the line at `from` will be read.
    fn fetch(&self, from: *const u8);
}

/// What the instructions do, in plain code.
#[cfg(test)]
pub(super) struct Model([[u8; TILE_BYTES]; 8]);

#[cfg(test)]
impl Model {
    pub(super) fn new() -> Model {
        // Whatever an earlier use left: nothing may rely on zeros.
        Model([[0xa5; TILE_BYTES]; 8])
    }
}

#[cfg(test)]
impl Tiles for Model {
    fn zero<const T: usize>(&mut self) {
        self.0[T].fill(0);
    }

    unsafe fn load<const T: usize>(&mut self, from: *const u8) {
        // SAFETY: the caller's promise.
        self.0[T].copy_from_slice(unsafe { std::slice::from_raw_parts(from, TILE_BYTES) });
    }

    unsafe fn store<const T: usize>(&mut self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(to, TILE_BYTES) }.copy_from_slice(&self.0[T]);
    }

    fn dot_i8<const C: usize, const A: usize, const B: usize>(&mut self) {
        let byte =
            |tile: usize, row: usize, at: usize| i32::from(self.0[tile][64 * row + at] as i8);
        let mut c = self.0[C];
        for (at, c) in c.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (m, n) = (at / 16, at % 16);
            let mut sum = i32::from_le_bytes(*c);
            for k in 0..16 {
                for i in 0..4 {
                    sum = sum.wrapping_add(byte(A, m, 4 * k + i) * byte(B, k, 4 * n + i));
                }
            }
            *c = sum.to_le_bytes();
        }
        self.0[C] = c;
    }

    fn fetch(&self, _from: *const u8) {}
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use hardware::Hardware;

/// What is multiplied in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// Integers of 8 bits.
    Int8,
    /// Pairs of bf16.
    Bf16,
}

/// Why this processor has no tiles for such operands, or the system lets this process use none, in words.
pub(super) fn is_available(operands: Operands) -> Result<(), String> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        hardware::is_available(operands)
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        let _ = operands;
        Err("AMX is used on x86-64 under Linux alone".into())
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hardware {
    use std::arch::asm;
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    use super::{Operands, Tiles};

    /// The processor's tiles, configured for the thread that made this, until it is dropped.
    pub(in super::super) struct Hardware(PhantomData<*const ()>);

    /// The operand of `ldtilecfg`.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        _reserved: [u8; 14],
        /// Bytes of a row of each tile, of which there are eight.
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIGURATION: Configuration = Configuration {
        palette: 1,
        start_row: 0,
        _reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    impl Hardware {
        /// Panics where [`super::is_available`] says that there are none.
        pub(in super::super) fn configure(operands: Operands) -> Hardware {
            is_available(operands).expect("asked for before A was packed");
            const { assert!(size_of::<Configuration>() == 64) };
            // SAFETY: the processor has tiles, and this process may use them. 64 bytes of a valid configuration are read.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly, preserves_flags));
            }
            Hardware(PhantomData)
        }
    }

    impl Drop for Hardware {
        fn drop(&mut self) {
            // SAFETY: as in `configure`. Tiles that are in use make every switch of threads slower.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
        }
    }

    // The compiler uses no tiles itself, so what one instruction leaves in them is there for the next. None of the
    // statements is `pure`: their order stays.
    impl Tiles for Hardware {
        #[inline(always)]
        fn zero<const T: usize>(&mut self) {
            // SAFETY: tiles are configured while `self` is there.
            unsafe { asm!("tilezero tmm{}", const T, options(nostack, nomem, preserves_flags)) }
        }

        #[inline(always)]
        unsafe fn load<const T: usize>(&mut self, from: *const u8) {
            // SAFETY: as above, and 16 rows of 64 bytes can be read by the caller's promise.
            unsafe {
                asm!("tileloadd tmm{}, [{} + {} * 1]", const T, in(reg) from, in(reg) 64usize,
                    options(nostack, readonly, preserves_flags));
            }
        }

        #[inline(always)]
        unsafe fn store<const T: usize>(&mut self, to: *mut u8) {
            // SAFETY: as above, for writing.
            unsafe {
                asm!("tilestored [{} + {} * 1], tmm{}", in(reg) to, in(reg) 64usize, const T,
                    options(nostack, preserves_flags));
            }
        }

        #[inline(always)]
        fn dot_i8<const C: usize, const A: usize, const B: usize>(&mut self) {
            const { assert!(C != A && C != B && A != B, "an operand's tile is another one") };
            // SAFETY: tiles are configured while `self` is there.
            unsafe {
                asm!("tdpbssd tmm{}, tmm{}, tmm{}", const C, const A, const B,
                    options(nostack, nomem, preserves_flags));
            }
        }

        #[inline(always)]
        fn fetch(&self, from: *const u8) {
            // SAFETY: a hint, which faults nowhere.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
        }
    }

    pub(super) fn is_available(operands: Operands) -> Result<(), String> {
        // For each kind of operands: a processor that is a guest takes long to say what it has.
        static FOUND: [OnceLock<Result<(), String>>; 2] = [const { OnceLock::new() }; 2];
        let find = || {
            if has_instructions(operands) {
                return may_use_tiles();
            }
            let name = match operands {
                Operands::Int8 => "INT8",
                Operands::Bf16 => "BF16",
            };
            Err(format!("this processor has no AMX-{name}"))
        };
        FOUND[operands as usize].get_or_init(find).clone()
    }

    /// AMX-TILE and AMX-INT8 or AMX-BF16 (leaf 7).
    fn has_instructions(operands: Operands) -> bool {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        const AMX_INT8: u32 = 1 << 25;
        #[allow(unused_unsafe, reason = "safe functions from some version of the compiler on")]
        // SAFETY: every processor of 64 bits has the instruction, and leaf 7 is asked for where there is one.
        let features = unsafe { if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx } };
        let wanted = AMX_TILE
            | match operands {
                Operands::Int8 => AMX_INT8,
                Operands::Bf16 => AMX_BF16,
            };
        features & wanted == wanted
    }

    /// Whether the system saves tiles (bits 17 and 18 of XCR0).
    fn saves_tiles() -> bool {
        use std::arch::x86_64::__cpuid;
        const OSXSAVE: u32 = 1 << 27;
        const TILE_STATE: u32 = 1 << 17 | 1 << 18;
        #[allow(unused_unsafe, reason = "safe functions from some version of the compiler on")]
        // SAFETY: every processor of 64 bits has the instruction.
        let features = unsafe { __cpuid(1).ecx };
        if features & OSXSAVE == 0 {
            return false;
        }
        let xcr0: u32;
        // SAFETY: OSXSAVE says that the instruction is there.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _,
                options(nostack, nomem, preserves_flags));
        }
        xcr0 & TILE_STATE == TILE_STATE
    }

    /// Asks Linux for the right to use tiles, which all threads of the process then have.
    fn may_use_tiles() -> Result<(), String> {
        use std::ffi::c_long;
        unsafe extern "C" {
            fn syscall(number: c_long, ...) -> c_long;
        }
        // asm/unistd_64.h, asm/prctl.h, and the state component of tiles' data (asm/fpu/types.h).
        const ARCH_PRCTL: c_long = 158;
        const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
        const XFEATURE_XTILEDATA: c_long = 18;
        if !saves_tiles() {
            return Err("the system saves no AMX tiles".into());
        }
        // SAFETY: it takes numbers alone, and refuses what it does not know.
        if unsafe { syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(format!("the system refuses the use of AMX tiles: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(seed: usize) -> [u8; TILE_BYTES] {
        std::array::from_fn(|i| ((i * 2_654_435_761 + seed * 40_503) >> 7) as u8)
    }

    /// Products of two tiles, twice, and the tiles that were read.
    fn products<T: Tiles>(tiles: &mut T) -> [[u8; TILE_BYTES]; 3] {
        let mut out = [[0; TILE_BYTES]; 3];
        let (a, b, c) = (pattern(1), pattern(2), pattern(3));
        // SAFETY: whole tiles.
        unsafe {
            tiles.load::<6>(a.as_ptr());
            tiles.load::<7>(b.as_ptr());
            tiles.load::<3>(c.as_ptr());
            tiles.zero::<2>();
            tiles.dot_i8::<2, 6, 7>();
            tiles.dot_i8::<3, 6, 7>();
            tiles.dot_i8::<3, 6, 7>();
            tiles.store::<2>(out[0].as_mut_ptr());
            tiles.store::<3>(out[1].as_mut_ptr());
            tiles.store::<7>(out[2].as_mut_ptr());
        }
        out
    }

    #[test]
    fn the_model_multiplies_bytes_with_a_sign() {
        let [product, twice, b_again] = products(&mut Model::new());
        let (a, b, c) = (pattern(1), pattern(2), pattern(3));
        let word = |tile: &[u8; TILE_BYTES], at: usize| {
            i32::from_le_bytes(tile[4 * at..4 * at + 4].try_into().expect("four bytes"))
        };
        for (m, n) in (0..16).flat_map(|m| (0..16).map(move |n| (m, n))) {
            let terms = (0..64).map(|k| {
                i32::from(a[64 * m + k] as i8) * i32::from(b[64 * (k / 4) + 4 * n + k % 4] as i8)
            });
            let sum: i32 = terms.sum();
            let at = 16 * m + n;
            assert_eq!(word(&product, at), sum, "{m} {n}");
            assert_eq!(word(&twice, at), word(&c, at).wrapping_add(2 * sum), "{m} {n}");
        }
        assert_eq!(b_again, b);
    }

    #[test]
    fn the_processors_tiles_are_the_models() {
        if let Err(reason) = is_available(Operands::Int8) {
            eprintln!("not run: tiles of this processor ({reason})");
            return;
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        assert_eq!(products(&mut Hardware::configure(Operands::Int8)), products(&mut Model::new()));
    }
}
