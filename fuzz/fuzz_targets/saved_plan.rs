//! Hands inputs to its namesake in `src/bin/syncengine/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| program::fuzzing::saved_plan(data));
