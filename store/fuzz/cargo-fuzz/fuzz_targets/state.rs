//! `store_fuzz::state` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store_fuzz::state(data));
