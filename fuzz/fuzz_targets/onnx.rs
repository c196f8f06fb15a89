//! Any bytes are judged by the check of ONNX files without a panic, in little time and memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = earwitness::model::check_onnx(bytes);
});
