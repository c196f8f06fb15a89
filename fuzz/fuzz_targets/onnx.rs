//! Any bytes are judged by the check of ONNX files without a panic, in little time and memory. A good start is what passes:
//!
//!     mkdir -p fuzz/corpus/onnx && cp tests/fixtures/packs/*/*.onnx fuzz/corpus/onnx
//!     cargo +nightly fuzz run onnx -- -max_len=200000 -timeout=1 -rss_limit_mb=512
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = earwitness::model::check_onnx(bytes);
});
