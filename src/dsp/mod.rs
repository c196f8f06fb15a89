//! Signal processing: log-mel, MFCC, LFCC, CQCC as pure functions and streaming states over slices. `docs/features.md`
//! defines each exactly. No I/O and no ONNX live here.
