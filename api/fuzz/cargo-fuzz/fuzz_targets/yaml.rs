//! `api_fuzz::yaml` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| api_fuzz::yaml(data));
