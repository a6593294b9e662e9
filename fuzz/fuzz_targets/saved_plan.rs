#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| program::fuzzing::saved_plan(data));
