#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtmsd::fuzz::range::run(bytes));
