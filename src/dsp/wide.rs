//! Vector registers of twice the width where the processor has them, without a build for that processor.

/// Defines functions that are compiled for AVX2 as well; that code is taken where the processor has it. The operations and
/// their order are the same, and so are the results, to the last bit.
macro_rules! wide {
    ($($(#[$doc:meta])* $seen:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        $seen fn $name($($arg: $kind),*) {
            #[inline(always)]
            fn plain($($arg: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn on_avx2($($arg: $kind),*) {
                    plain($($arg),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what the function asks for.
                    return unsafe { on_avx2($($arg),*) };
                }
            }
            plain($($arg),*);
        }
    )*};
}

pub(crate) use wide;
