//! One body compiled for every dispatch path, where the compiler vectorises it as well as anybody.

/// A function with a leading argument `isa: Isa`, compiled for each path from the one body given. What the body calls is
/// compiled with it where it is `#[inline(always)]`. Panics where the processor lacks the path.
///
/// The body is safe code: the `unsafe` that the macro needs is allowed around it and forbidden inside. (Seen by an
/// `unsafe { std::mem::transmute::<f32, u32>(x) }` in the body of `inputs::synthetic`'s `fill_on`: it compiled, in a
/// module that denies unsafe code, before the body had that attribute, and is an error with it.)
macro_rules! per_isa {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "the path is asserted to be available")]
        $vis fn $name(isa: $crate::backend::cpu::Isa, $($argument: $type),*) $(-> $out)? {
            #[forbid(unsafe_code)]
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,popcnt")]
            fn avx2($($argument: $type),*) $(-> $out)? {
                plain($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
            fn avx512($($argument: $type),*) $(-> $out)? {
                plain($($argument),*)
            }

            assert!(isa.is_available(), "the {isa} path needs another processor");
            match isa {
                // SAFETY: the path is available, asserted above, and every processor with AVX2 counts bits.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::Isa::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::Isa::Avx2 => unsafe { avx2($($argument),*) },
                _ => plain($($argument),*),
            }
        }
    };
}

pub(crate) use per_isa;
