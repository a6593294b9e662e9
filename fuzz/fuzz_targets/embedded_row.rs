//! Hands inputs to its namesake in `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncengine::fuzzing::embedded_row(data));
