//! `api_fuzz::patches` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| api_fuzz::patches(data));
